# The wallet's image: one for every process, which the command names (`wallet worker`, ...).
# It needs no root, writes nowhere but /tmp and what is mounted, and holds no compiler and no pip.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /opt/wallet
COPY requirements.run.lock ./
# Nothing is built from source, so nothing runs here that no hash vouches for.
RUN /opt/wallet/bin/pip install --require-hashes --only-binary=:all: -r requirements.run.lock
COPY pyproject.toml LICENSE ./
COPY schemas schemas
COPY db db
COPY processors processors
COPY streams streams
COPY api api
RUN /opt/wallet/bin/pip install --no-deps --no-build-isolation . \
    && /opt/wallet/bin/pip uninstall --yes setuptools pip

FROM python:${PYTHON}-slim
# The folders stand here with their owner, so that a new volume mounted on one is writable.
RUN groupadd --gid 10001 wallet \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/wallet \
        --shell /usr/sbin/nologin wallet \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/wallet /var/lib/node
COPY --from=build /opt/wallet /opt/wallet
ENV PATH=/opt/wallet/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    WALLET_HOME=/var/lib/wallet
WORKDIR /var/lib/wallet
USER 10001:10001
EXPOSE 8003
# Asks whatever process the container runs.
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 CMD ["wallet", "health"]
ENTRYPOINT ["wallet"]
CMD ["--help"]
