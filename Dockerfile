# The image of inhouse: the locked packages, nothing that compiles, no model to download.
# Another base (a mirror's, a hardened one) needs Python 3.11 or newer with venv, and Debian's apt-get or tesseract inside.
ARG BASE_IMAGE=docker.io/library/python:3.11.15-slim-bookworm

FROM ${BASE_IMAGE} AS packages
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/inhouse
WORKDIR /build
COPY requirements.lock ./
# Behind a mirror, the secrets `pip.conf` and `certificates` say where packages come from; neither stays in the image.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=certificates \
    /opt/pip/bin/pip --python /opt/inhouse/bin/python install \
    --no-cache-dir --disable-pip-version-check --only-binary :all: --require-hashes --no-deps -r requirements.lock
COPY pyproject.toml README.md ./
COPY policies policies
COPY vectorstore vectorstore
COPY ingest ingest
COPY service service
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=certificates \
    /opt/pip/bin/pip --python /opt/inhouse/bin/python install --no-cache-dir --disable-pip-version-check --no-deps .

FROM ${BASE_IMAGE}
# Scans and pictures of text are read by tesseract; a base that has it needs no network here.
RUN command -v tesseract >/dev/null \
    || { apt-get update && apt-get install --yes --no-install-recommends tesseract-ocr tesseract-ocr-eng \
    && rm -rf /var/lib/apt/lists/*; }
# The volume takes its owner from this folder. A number, because a container host knows no names of the image.
RUN install -d -m 0700 -o 10001 -g 10001 /data
COPY --from=packages /opt/inhouse /opt/inhouse
COPY --chmod=0755 deploy/start /usr/local/bin/start-inhouse
ENV PATH=/opt/inhouse/bin:$PATH HOME=/data INHOUSE_DATA_DIR=/data
USER 10001:10001
EXPOSE 8080
VOLUME /data
CMD ["start-inhouse"]
