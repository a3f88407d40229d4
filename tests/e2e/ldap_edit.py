"""One LDAP connection that replaces attribute values (RFC 4511 in BER, bind and modify only): starting an ldapmodify for each edit would
hide the gateway's own latency."""
import socket


def ber(tag, *parts):
    body = b"".join(parts)
    size = len(body)
    if size < 128:
        return bytes([tag, size]) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def text(value, tag=0x04):
    return ber(tag, value.encode())


def number(value, tag=0x02):
    return ber(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


class Editor:
    def __init__(self, site):
        host, port = site.env["POSTERN_LDAP_URI"].removeprefix("ldap://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.last = 0
        self.request(ber(0x60, number(3), text(site.env["POSTERN_ADMIN_DN"]), text(site.env["POSTERN_ADMIN_PASSWORD"], 0x80)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def read(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise ConnectionError("the directory closed the connection")
            data += more
        return data

    def request(self, operation):
        self.last += 1
        self.socket.sendall(ber(0x30, number(self.last), operation))
        head = self.read(2)
        size = head[1] if head[1] < 128 else int.from_bytes(self.read(head[1] & 0x7F), "big")
        body = self.read(size)
        # LDAPMessage: messageID, then the operation, whose first element is the resultCode
        at = 2 + body[1]
        at += 2 if body[at + 1] < 128 else 2 + (body[at + 1] & 0x7F)
        code = body[at + 2]
        if code != 0:
            raise RuntimeError(f"LDAP result {code}")

    def replace(self, dn, attribute, *values):
        change = ber(0x30, number(2, 0x0A), ber(0x30, text(attribute), ber(0x31, *[text(value) for value in values])))
        self.request(ber(0x66, text(dn), ber(0x30, change)))
