# Dogecoin Core, for whoever wants it in place of the small local node (deploy/core.yml).
# The release's name and the SHA-256 of its archive are given by whoever checked its signature.
FROM debian:bookworm-slim AS fetch
ARG DOGECOIN_VERSION=1.14.9
ARG DOGECOIN_SHA256
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl
RUN test -n "$DOGECOIN_SHA256" \
    || { echo "give the build argument DOGECOIN_SHA256, from the release's signed list"; exit 1; }
RUN name="dogecoin-${DOGECOIN_VERSION}-x86_64-linux-gnu.tar.gz" \
    && curl --fail --silent --show-error --location --output /core.tar.gz \
        "https://github.com/dogecoin/dogecoin/releases/download/v${DOGECOIN_VERSION}/${name}" \
    && echo "$DOGECOIN_SHA256  /core.tar.gz" | sha256sum --check - \
    && mkdir /core \
    && tar --extract --gzip --file=/core.tar.gz --directory=/core --strip-components=1

FROM debian:bookworm-slim
# The same number as the wallet's image has, so that its processes can read the cookie.
RUN groupadd --gid 10001 wallet \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin wallet \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/node
COPY --from=fetch /core/bin/dogecoind /core/bin/dogecoin-cli /usr/local/bin/
USER 10001:10001
EXPOSE 18332
ENTRYPOINT ["dogecoind", "-datadir=/var/lib/node"]
