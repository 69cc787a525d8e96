# A node in an image of its own. The binary is static, so nothing else is needed; build it first:
#
#   make build && docker build -t chancery .
#   docker run -v chancery:/home/chancery chancery init
#
# The node's home is in the volume. Keys, genesis and configuration are put there, never into the image.
FROM scratch

COPY bin/chancery /usr/bin/chancery

# The copy creates the home with the owner that the node runs as, since an image from scratch has no mkdir.
COPY --chown=65532:65532 LICENSE /home/chancery/LICENSE

USER 65532:65532
ENV HOME=/home/chancery CHANCERY_HOME=/home/chancery/node
WORKDIR /home/chancery
VOLUME /home/chancery

# 26656 is the consensus network, 9090 the API.
EXPOSE 26656 9090

ENTRYPOINT ["/usr/bin/chancery"]
