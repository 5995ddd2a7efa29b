# The binary, the certificates of those it connects to, and nothing else. Build: docker build -t milldam . ; run: docker run -p 9092:9092 -v milldam:/data milldam
FROM golang:1.27 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN make build && mkdir /data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /src/bin/milldam /milldam
COPY --from=build /src/.ci/milldam.docker.yaml /milldam.yaml
COPY --from=build --chown=65532:65532 /data /data
USER 65532:65532
VOLUME /data
EXPOSE 9092 8080
ENTRYPOINT ["/milldam"]
# In a container the port is reached from outside it, so the listener is not the loopback: this is said to be insecure because it is.
CMD ["server", "--config", "/milldam.yaml"]
