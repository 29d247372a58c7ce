# Two images: `--target actor` (no torch) and `--target learner`. Both stand on the same layers, so a host that has one
# pulls little for the other, and a change of the source replaces a layer of a few hundred kilobytes.
#
#   docker build --target learner -t dppo-learner --build-arg TORCH_INDEX=<PyTorch's CPU wheel index> .
#
# PACKAGES are those that your environments need, in both images.
# TORCH_INDEX is an extra package index for torch. Leave it out where pip already finds the wheel you want: on Linux the
# default wheel brings gigabytes of CUDA libraries, which a learner of small networks has no use for.

FROM python:3.11-slim AS base
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DPPO_HEALTH_FILE=/tmp/dppo.health
# /dppo/join: what is written there belongs to the group dppo, which is how actors can read the learner's join line. A new
# volume takes owner and mode from here.
# HOME: the learner may run under any user id, which need not have a home.
ENV HOME=/tmp USER=dppo
RUN useradd --uid 1000 --user-group --no-create-home --home-dir /tmp dppo \
 && mkdir -p /dppo/runs /dppo/join && chown -R dppo:dppo /dppo && chmod 2770 /dppo/join && mkdir /dppo/envs
WORKDIR /dppo

# Everything that a build leaves behind stays in this stage: it hands on requirement lists and one wheel.
FROM python:3.11-slim AS wheel
WORKDIR /src
COPY pyproject.toml .
RUN python -c "import tomllib; \
project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
write = lambda name, lines: open(name, 'w').write('\n'.join(lines) + '\n'); \
write('actor.txt', project['dependencies']); \
write('learner.txt', project['optional-dependencies']['learner'])"
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

# The environment has no pip of its own (17 MB): the base image's installs into it.
FROM base AS packages
RUN python -m venv --without-pip /venv
RUN --mount=type=bind,from=wheel,source=/src/actor.txt,target=/tmp/actor.txt \
    pip --python /venv/bin/python install --no-cache-dir -r /tmp/actor.txt

FROM packages AS actor
ARG PACKAGES=""
RUN [ -z "$PACKAGES" ] || pip --python /venv/bin/python install --no-cache-dir $PACKAGES
RUN --mount=type=bind,from=wheel,source=/wheel,target=/mnt \
    pip --python /venv/bin/python install --no-cache-dir --no-deps /mnt/*.whl
COPY scripts/docker-actor-entrypoint.sh /usr/local/bin/dppo-entrypoint
ENTRYPOINT ["/bin/sh", "/usr/local/bin/dppo-entrypoint"]
USER dppo
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-m", "dppo.ops.healthcheck"]
CMD ["dppo", "actor", "--help"]

FROM packages AS learner
ARG TORCH_INDEX=""
RUN --mount=type=bind,from=wheel,source=/src/learner.txt,target=/tmp/learner.txt \
    pip --python /venv/bin/python install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
      -r /tmp/learner.txt
ARG PACKAGES=""
RUN [ -z "$PACKAGES" ] || pip --python /venv/bin/python install --no-cache-dir $PACKAGES
RUN --mount=type=bind,from=wheel,source=/wheel,target=/mnt \
    pip --python /venv/bin/python install --no-cache-dir --no-deps /mnt/*.whl
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-m", "dppo.ops.healthcheck"]
# Root only until the entrypoint has become the owner of the run directory.
COPY scripts/docker-entrypoint.sh /usr/local/bin/dppo-entrypoint
ENTRYPOINT ["/bin/sh", "/usr/local/bin/dppo-entrypoint"]
CMD ["dppo", "learner", "--help"]
