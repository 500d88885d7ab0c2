# A Windmill worker with Meltano as a tool of its own and warm caches: the first run installs plugins, and nothing else.
#   docker build -f resources/deploy/worker.Dockerfile -t flexcore-worker:1.743.0 .
FROM ghcr.io/windmill-labs/windmill:1.743.0

# Where Meltano, its plugins and its state are kept; Windmill shows it to steps because it is on this list.
ENV FLEXCORE_HOME=/flexcore WHITELIST_ENVS=FLEXCORE_HOME
RUN mkdir /flexcore && chown 1000:1000 /flexcore
USER 1000:1000
WORKDIR /tmp/flexcore-build
COPY --chown=1000:1000 dependencies dependencies
COPY --chown=1000:1000 locks locks
COPY --chown=1000:1000 f f
# What the steps are locked to, each where Windmill 1.743 looks for it: it installs without uv's own cache.
RUN find locks -name '*.lock' -exec grep -h '==' {} + | sort -u | xargs -P 4 -I '{}' sh -ec ' \
      folder="/tmp/windmill/cache/python_3_11/$1"; \
      uv pip install --quiet --no-config --no-cache --no-deps --link-mode=copy --compile-bytecode \
        --system --python 3.11 --target "$folder" "$1"; \
      touch "$folder/.valid.windmill"' - '{}'
# The bundle's own installer, so that the image holds exactly what a step looks for.
RUN UV_NO_CACHE=1 uv run --no-project --python 3.11 --with-requirements dependencies/flexcore_base.requirements.in \
      python -c "from f.flexcore.lib.meltano.installation import meltano_command; print(meltano_command())"
WORKDIR /usr/src/app
