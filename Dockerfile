# Two stages: the first has the compiler, the image that is kept has not. See docs/guide/docker.md.
FROM node:22-bookworm AS build
# The headers of Node that the image has; node-gyp would download them.
ENV npm_config_nodedir=/usr/local
WORKDIR /lockstep
COPY . .
# Installs, compiles the engine and builds; then leaves out what only building needs.
RUN npm ci && test -f build/Release/lockstep_native.node && npm prune --omit=dev --ignore-scripts \
  && find build -mindepth 1 -maxdepth 1 ! -name Release -exec rm -r {} + \
  && find build/Release -mindepth 1 -maxdepth 1 ! -name 'lockstep_native.node*' -exec rm -r {} +

FROM node:22-bookworm-slim
ENV NODE_ENV=production
COPY --from=build /lockstep /lockstep
RUN ln -s /lockstep/dist/cli/main.js /usr/local/bin/launch
WORKDIR /data
# Node itself, not npx: signals must reach the run, so that it ends with a checkpoint.
ENTRYPOINT ["node", "/lockstep/dist/cli/main.js"]
