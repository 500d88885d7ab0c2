# A Windmill worker with Meltano as a tool of its own and warm caches: the first run installs nothing.
#   docker build -f resources/deploy/worker.Dockerfile -t flexcore-worker:1.743.0 .
FROM ghcr.io/windmill-labs/windmill:1.743.0

ENV FLEXCORE_HOME=/flexcore
RUN mkdir -p /flexcore && chown 1000:1000 /flexcore
USER 1000:1000
WORKDIR /tmp/flexcore-build
COPY --chown=1000:1000 dependencies dependencies
COPY --chown=1000:1000 f/flexcore f/flexcore
# The room's own installer, so that the image holds exactly what a step looks for. The packages of the steps stay in
# the cache that Windmill's own installations read.
RUN UV_CACHE_DIR=/tmp/windmill/cache/uv uv run --no-project --python 3.11 \
      --with-requirements dependencies/flexcore_kubernetes.requirements.in \
      python -c "from f.flexcore.meltano.tool import meltano_command; print(meltano_command())"
WORKDIR /usr/src/app
