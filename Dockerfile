# The web page and the HTTP service on a CPU. Build: docker build -t dereflect .
FROM python:3.11-slim AS build
WORKDIR /build
RUN python -m venv /opt/dereflect
ENV PATH=/opt/dereflect/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# torch alone first: this layer is large and seldom changes. The build without CUDA is a tenth of the other's size.
RUN pip install "torch>=2.6,<2.14" --index-url https://download.pytorch.org/whl/cpu
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY integrations integrations
RUN pip install ".[web,deep,heif]"

FROM python:3.11-slim
# torch's CPU build needs OpenMP's runtime, which the slim image lacks.
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin dereflect
COPY --from=build /opt/dereflect /opt/dereflect
# Nothing is written but uploads, to /tmp; PYTHONDONTWRITEBYTECODE keeps Python from trying elsewhere.
ENV PATH=/opt/dereflect/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp TMPDIR=/tmp \
    DEREFLECT_CACHE=/models
USER 10001:10001
WORKDIR /tmp
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:7860/healthz', timeout=4)"]
# Inside the container every address is wanted, so DEREFLECT_TOKEN must be set: without, it says so and stops.
ENTRYPOINT ["dereflect", "serve", "--host", "0.0.0.0", "--port", "7860"]
