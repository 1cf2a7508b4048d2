"""Bodies that clients compressed. zlib is Python's own; the others need the packages lz4 and zstandard where they occur."""


def unpacker():
    """A function of a body and its sys_flag that gives the body as its producer had it. It holds all that it needs, so
    that an engine can send it to other machines."""

    def unpacked(body, sys_flag):
        if body is None or not sys_flag & 0x1:
            return body
        kind = sys_flag & 0x700
        if kind in (0, 0x300):
            import zlib

            return zlib.decompress(body)
        if kind == 0x100:
            import lz4.frame

            return lz4.frame.decompress(body)
        if kind == 0x200:
            import zstandard

            # A producer's frame need not tell how long its content is.
            return zstandard.ZstdDecompressor().decompressobj().decompress(body)
        raise ValueError(f"sys_flag {sys_flag:#x} names no compression that is known")

    return unpacked
