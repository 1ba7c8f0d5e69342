# One domain on the CPU:
#   docker build --build-arg TORCH_INDEX=<the index of CPU wheels that PyTorch's pages name> -t graftwork .
#   docker run --rm -v "$PWD:/data" graftwork graftwork-imaging check scans.csv
# Without TORCH_INDEX torch is the usual build, with CUDA: larger by some GB, and what EXTRAS=audio needs.
FROM python:3.11-slim

ARG EXTRAS=imaging
ARG TORCH_INDEX=

COPY . /src
RUN pip install --no-cache-dir -c /src/constraints.txt \
        ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "/src[$EXTRAS]" \
    && rm -rf /src \
    && useradd --create-home graftwork

USER graftwork
WORKDIR /data
CMD ["graftwork-imaging", "--help"]
