# A worker: docker build -t kafka-worker . && docker run kafka-worker orders --workers 4
FROM node:26.10.0-slim
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev && npm cache clean --force
COPY src ./src
# For the row store's file: whichever user the container is given may write there.
RUN mkdir --mode=1777 data
USER node
ENV NODE_ENV=production HTTP_HOST=0.0.0.0 HTTP_PORT=9464
EXPOSE 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.HTTP_PORT}/healthz`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "--require", "./src/support/require-node.cjs", "src/bin/start.ts"]
CMD ["deletion"]
