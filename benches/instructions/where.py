"""Which part of the proxy the instructions belong to: what callgrind wrote, added up by name."""

import collections
import re

# The first that matches the name of a function takes it. What was inlined counts for whom it is in.
PARTS = [
    # Gathered when the process starts, by the jitter of the machine: never twice as long, and no
    # request's. Left out of what a request costs.
    ("entropy", r"\bjent_|jent_|keccak|xoshiro|\brol64|uint32rotl|ptr_to_le|le32_to_ptr|le64_to_ptr"),
    ("HTTP/1: heads and framing", r"proxyd::http1::"),
    ("access log", r"proxyd::observe::access::"),
    ("metrics", r"proxyd::observe::metrics::"),
    ("routes, pools, leases", r"proxyd::(model|sync)::"),
    ("sockets and TLS records", r"proxyd::net::"),
    ("the way of a request", r"proxyd::proxy::"),
    ("control and probes", r"proxyd::"),
    ("cryptography", r"aws_lc|aes_|gcm_|ghash|sha256|sha512|sha1_|x25519|p256|ecp_nistz|ChaCha|poly1305|EVP_|CRYPTO_|OPENSSL_"),
    ("rustls", r"rustls"),
    ("HTTP/2: h2 and hyper", r"\bh2::|hyper"),
    ("http: header maps", r"\bhttp::"),
    ("tokio and mio", r"tokio|\bmio::"),
    ("allocator", r"malloc|calloc|realloc|\bfree\b|_int_free|cfree|mi_|_mi_|__rust_alloc|__rust_dealloc|__rdl_|__rustc"),
    ("memory copied, set, compared", r"mem(cpy|move|set|cmp|chr)|bcmp"),
    ("std and libc", r""),
]  # fmt: skip


ENTROPY = "entropy"

# What belongs to requests.
SHOWN = [part for part in PARTS if part[0] != ENTROPY]


def parts(path):
    """Instructions by part, of one file that was written with --compress-strings=no."""
    found, part, call = collections.Counter(), None, False
    with open(path) as source:
        for line in source:
            if line.startswith("fn="):
                part = part_of(line[3:])
            elif line.startswith("calls="):
                call = True
            elif part and re.match(r"[+\-*\d]", line):
                # The line after `calls=` has what the callee cost: it counts there.
                if not call:
                    found[part] += int(line.split()[-1])
                call = False
            elif line.startswith("totals:"):
                break
    return found


def part_of(name):
    # `<A as B>::c` belongs to A, whatever B is.
    name = re.sub(r"<(?:dyn |&mut |&)?([^<>]*?) as [^>]*>", r"\1", name)
    return next(part for part, pattern in PARTS if re.search(pattern, name))
