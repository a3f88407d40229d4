"""Ports for the servers that the tests start. A port that is given out stays its program's until that ends, however many programs run at once and however
often a server is stopped and started; and it lies outside the range that the kernel takes clients' ports from."""
import random
import socket

LOWEST, HIGHEST = 11000, 32000
SITE = (25, 110, 143, 389, 465, 587, 993, 995)     # contrib/quickstart's, from --port-base on
claims = []     # open as long as we run


def claim(port):
    """Whether it is ours alone. A name of an abstract Unix socket has one owner, and none once that has ended (unix(7)); as ports, names are per network."""
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0postern-test-port-{port}")
        with socket.socket() as s:
            s.bind(("127.0.0.1", port))     # nor is it a server's that is no test
    except OSError:
        name.close()
        return False
    claims.append(name)
    return True


def choose(offsets):
    for _ in range(1000):
        base = random.SystemRandom().randrange(LOWEST, HIGHEST - max(offsets))     # tests seed the other one
        kept = len(claims)
        if all(claim(base + offset) for offset in offsets):
            return base
        for name in claims[kept:]:
            name.close()
        del claims[kept:]
    raise RuntimeError("no free ports")


def free_port_base():
    """A base such that every port of a site is free."""
    return choose(SITE)


def free_port():
    return choose((0,))
