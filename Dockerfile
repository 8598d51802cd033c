# The sidecar as an image:  docker build -t activity-proxy .
#
# A tag can be moved. To hold a build to one base image, look its digest up and name it:
#   docker buildx imagetools inspect python:3.11.14-slim-bookworm
#   docker build --build-arg PYTHON_IMAGE=python:3.11.14-slim-bookworm@sha256:... -t activity-proxy .
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm


FROM ${PYTHON_IMAGE} AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_NO_INPUT=1
WORKDIR /build

# Packages first: they change less often than the sources do.
COPY deploy/requirements.txt deploy/redis-requirements.txt deploy/build-requirements.txt deploy/
RUN python3 -m venv builder \
    && builder/bin/pip install --require-hashes --only-binary :all: -r deploy/build-requirements.txt \
    && python3 -m venv --without-pip /opt/activity-proxy \
    && builder/bin/pip --python /opt/activity-proxy/bin/python \
        install --require-hashes --only-binary :all: -r deploy/requirements.txt -r deploy/redis-requirements.txt

COPY LICENSE README.md pyproject.toml ./
COPY config config
COPY proxy proxy
RUN builder/bin/pip wheel --no-build-isolation --no-deps --no-index --wheel-dir dist . \
    && builder/bin/pip --python /opt/activity-proxy/bin/python install --no-deps --no-index dist/*.whl


FROM ${PYTHON_IMAGE}

ARG VERSION=""
ARG REVISION=""
LABEL org.opencontainers.image.title="activity-proxy" \
      org.opencontainers.image.description="Sidecar that gives an unchanged Discord Activity server real answers from the API Gateway" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# With the modules' compiled code, made in the build: nothing is written at run time.
COPY --from=build /opt/activity-proxy /opt/activity-proxy
COPY config/proxy.yaml /etc/activity-proxy/proxy.yaml
ENV PATH=/opt/activity-proxy/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1

# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
WORKDIR /etc/activity-proxy

# Viewers; and the operator: from outside of the container only with `admin: 0.0.0.0:9464`.
EXPOSE 3001 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["activity-proxy", "health", "-c", "/etc/activity-proxy/proxy.yaml"]
ENTRYPOINT ["activity-proxy"]
CMD ["run", "-c", "/etc/activity-proxy/proxy.yaml"]
