# The panel before a Windmill server: the dashboard, the server's API and health on one port. It has no token and keeps
# nothing. From the bundle's root, with Docker's BuildKit:
#   docker build -f resources/deploy/panel.Dockerfile -t flexcore-panel:0.1.0 .
FROM node:24-slim AS page
WORKDIR /build
COPY flexcore/panel/app panel
RUN cd panel && npm ci --omit=dev --ignore-scripts --no-audit --no-fund
COPY f/flexcore/dashboard__raw_app app
RUN mkdir packages && cp app/package.json app/package-lock.json packages \
    && cd packages && npm ci --omit=dev --ignore-scripts --no-audit --no-fund
RUN node panel/build.mjs app static packages/node_modules

FROM python:3.11-slim
WORKDIR /build
COPY . .
COPY --from=page /build/static flexcore/panel/static
# Of the command line's packages only those that the panel imports, at the versions of the project.
RUN grep -E '^  "(httpx|pydantic|pyyaml|starlette|typer|uvicorn)==' pyproject.toml | tr -d '", ' > /tmp/packages \
    && pip install --no-cache-dir --no-deps . && pip install --no-cache-dir -r /tmp/packages \
    && rm -rf /build /tmp/packages
USER 1000:1000
WORKDIR /
ENTRYPOINT ["flexcore", "dashboard", "--listen", "0.0.0.0", "--port", "8081"]
