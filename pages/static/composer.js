// The input field. The text lives in the textarea alone: the server neither mirrors nor clears it.
export default {
  props: { draft: String, max: Number, busy: Boolean, placeholder: String, labels: Object },
  emits: ["send", "stop"],
  template: `
    <form class="composer" @submit.prevent="send">
      <textarea ref="field" rows="1" :aria-label="labels.message" :placeholder="placeholder" enterkeyhint="send"
        @input="changed" @keydown="key"></textarea>
      <div class="composer-row">
        <span class="counter" :class="{ over: length > max }" role="alert" v-if="length > 0.9 * max">
          {{ length.toLocaleString("en") }} / {{ max.toLocaleString("en") }}</span>
        <button v-if="busy" type="button" class="button round stop with-icon icon-stop" :aria-label="labels.stop"
          :title="labels.stop + ' (Ctrl+Shift+X)'" @click="$emit('stop')"></button>
        <button type="submit" class="button round filled with-icon icon-up" :aria-label="labels.send"
          :title="labels.send" :disabled="!length || length > max"></button>
      </div>
    </form>`,
  data: () => ({ length: 0 }),
  created() {
    this.unsettled = []; // sent, but not yet taken by the server: part of the draft until then
  },
  mounted() {
    this.write(this.stored());
    document.addEventListener("keydown", this.shortcut);
    if (matchMedia("(pointer: fine)").matches) this.$refs.field.focus({ preventScroll: true });
  },
  beforeUnmount() {
    document.removeEventListener("keydown", this.shortcut);
  },
  methods: {
    key(event) {
      const enter = event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229;
      if (!enter || matchMedia("(pointer: coarse)").matches) return;
      event.preventDefault();
      this.send();
    },
    shortcut(event) {
      if (event.ctrlKey && event.shiftKey && event.code === "KeyX" && this.busy) {
        event.preventDefault();
        this.$emit("stop");
      }
    },
    send() {
      const text = this.$refs.field.value.toWellFormed(); // half an emoji is no JSON for the server
      if (!text.trim() || this.length > this.max || document.body.dataset.connection === "offline") return;
      this.unsettled.push(text);
      this.write("");
      this.$emit("send", text);
    },
    settle(taken) {
      const text = this.unsettled.shift();
      if (taken) this.save();
      else this.restore(text);
    },
    restore(text) {
      this.write([text, this.$refs.field.value].filter(Boolean).join("\n\n"));
      this.$refs.field.focus();
    },
    write(text) {
      this.$refs.field.value = text;
      this.changed();
    },
    changed() {
      const field = this.$refs.field;
      // Characters as the server counts them, not UTF-16 units.
      this.length = field.value.trim() ? (field.value.length > this.max ? [...field.value].length : field.value.length) : 0;
      if (!CSS.supports("field-sizing", "content")) {
        field.style.height = "auto";
        field.style.height = `${field.scrollHeight}px`;
      }
      this.save();
    },
    save() {
      const text = [...this.unsettled, this.$refs.field.value].filter(Boolean).join("\n\n");
      if (text) localStorage.setItem(`draft:${this.draft}`, text);
      else localStorage.removeItem(`draft:${this.draft}`);
    },
    stored() {
      return localStorage.getItem(`draft:${this.draft}`) ?? "";
    },
  },
};
