# The platform in one image: the server, its pages and Claude Code itself. It needs no network while it is built except
# Debian's and Python's package archives, and holds no secret: keys come by environment or are made in /data.
FROM python:3.12-slim-bookworm AS builder
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv --without-pip /opt/venv && python -m venv /opt/tools && /opt/tools/bin/pip install "setuptools>=77"
WORKDIR /src
COPY pyproject.toml constraints.txt ./
# The dependencies stand in a layer of their own: a change of our code does not fetch them again.
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
    print(*p['dependencies'], *p['optional-dependencies']['postgres'], sep='\n')" > requirements.txt \
    && /opt/tools/bin/pip --python /opt/venv install --constraint constraints.txt --requirement requirements.txt
COPY LICENSE README.md mcp.json ./
COPY commands commands
COPY skills skills
COPY claude_pattern claude_pattern
COPY pages pages
RUN /opt/tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/tools/bin/pip --python /opt/venv install --no-deps --prefix /opt/own /wheels/*.whl

FROM python:3.12-slim-bookworm
# git, procps, bubblewrap and socat are for the agents and their sandbox; setpriv and setsid (util-linux) let no agent
# outlive the server; tini reaps what ends. (The base has ca-certificates.)
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        bubblewrap git procps socat tini util-linux \
    && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log
# 1000 is the first user of most machines, so that agents may write to a project folder mounted from there.
RUN useradd --uid 1000 --user-group --create-home --shell /bin/bash agent \
    && install -d -o agent -g agent -m 0700 /data \
    && install -d -o agent -g agent /workspace
COPY --from=builder /opt/venv /opt/venv
COPY --from=builder /opt/own /opt/venv
COPY --chown=agent:agent mcp.json /workspace/
COPY --chown=agent:agent skills /workspace/skills
COPY --chown=agent:agent commands /workspace/commands
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    LANG=C.UTF-8 \
    DATA_DIR=/data \
    PROJECT_DIR=/workspace
USER agent
WORKDIR /workspace
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('PORT') or 8000), timeout=4); c.request('GET', '/api/v1/health/live'); raise SystemExit(c.getresponse().status != 200)"]
LABEL org.opencontainers.image.title="claude-pattern" \
      org.opencontainers.image.description="A self-hosted web platform for Claude agents in pure Python." \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"
ENTRYPOINT ["tini", "-g", "--"]
CMD ["claude-pattern"]
