FROM scratch
COPY bin /bin
ENV PATH=/bin
CMD ["sh"]
