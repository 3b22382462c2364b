// One word about the connection, which only the browser itself knows. app.js tells when it changes.
export default {
  props: { labels: Object },
  template: `<span class="connection">{{ labels[state] }}</span>`,
  data: () => ({ state: "connecting" }),
  mounted() {
    addEventListener("connection", this.update);
    this.update();
  },
  beforeUnmount() {
    removeEventListener("connection", this.update);
  },
  methods: {
    update() {
      this.state = document.body.dataset.connection ?? "connecting";
    },
  },
};
