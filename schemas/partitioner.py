"""Kafka's default partitioner, murmur2, as Java producers, aiokafka and kafka-python use it (librdkafka:
`murmur2_random`).
"""

import struct

_MASK = 0xFFFFFFFF
_M = 0x5BD1E995
_SEED = 0x9747B28C


def murmur2(data: bytes) -> int:
    """The 32-bit hash. Source: org.apache.kafka.common.utils.Utils.murmur2."""
    length = len(data)
    words = length >> 2
    h = _SEED ^ length
    for word in struct.unpack_from(f"<{words}I", data):
        k = word * _M & _MASK
        k ^= k >> 24
        h = (h * _M & _MASK) ^ (k * _M & _MASK)
    rest = data[words << 2 :]
    if rest:
        h ^= int.from_bytes(rest, "little")
        h = h * _M & _MASK
    h ^= h >> 13
    h = h * _M & _MASK
    return h ^ (h >> 15)


def partition_of(key: bytes, count: int) -> int:
    """The partition of `key` in a topic of `count` partitions."""
    return (murmur2(key) & 0x7FFFFFFF) % count if count > 1 else 0
