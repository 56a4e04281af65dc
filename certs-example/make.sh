#!/bin/sh
# Makes a throwaway certificate authority and one certificate for localhost, for trying proxyd out.
#
#   ca.pem             the authority: what a client has to trust (curl --cacert ca.pem ...)
#   localhost.pem      the certificate, then its chain: `cert:` in proxy.yaml
#   localhost-key.pem  its private key:                 `key:`  in proxy.yaml
#
# Run again, it changes nothing while the files are good for another 30 days; `--force` makes new
# ones. The authority's own key never touches the disk for longer than this script runs: nobody,
# you included, can sign a second certificate that clients of this ca.pem would accept. Should a
# browser come to trust it all the same, name constraints hold it to names of this machine and to
# .test, which RFC 6761 keeps off the Internet.
set -eu
cd "$(dirname "$0")"

DAYS=3650
SOON=$((30 * 24 * 3600))

good() {
    openssl verify -CAfile ca.pem localhost.pem >/dev/null 2>&1 &&
        openssl x509 -in localhost.pem -noout -checkend "$SOON" >/dev/null 2>&1 &&
        [ "$(openssl x509 -in localhost.pem -noout -pubkey)" = "$(openssl pkey -in localhost-key.pem -pubout 2>/dev/null)" ]
}

case "${1:-}" in
"") if good; then
        echo "certs-example: still good, nothing to do (--force makes new ones)"
        exit 0
    fi ;;
--force) ;;
*)
    echo "usage: $0 [--force]" >&2
    exit 2
    ;;
esac

command -v openssl >/dev/null || {
    echo "certs-example: openssl is not installed" >&2
    echo "  hint: apt-get install openssl" >&2
    exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 077

cat >"$work/openssl.cnf" <<'CNF'
[req]
distinguished_name = name
prompt = no
[name]
CN = proxyd example (never use in production)

[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
nameConstraints = critical, @only
[only]
permitted;DNS.1 = localhost
permitted;DNS.2 = test
permitted;IP.1 = 127.0.0.0/255.0.0.0
permitted;IP.2 = ::1/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff

[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = DNS:localhost, DNS:app.example.test, DNS:*.example.test, IP:127.0.0.1, IP:::1
CNF

key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null; }

key "$work/ca-key.pem"
openssl req -x509 -new -key "$work/ca-key.pem" -sha256 -days "$DAYS" \
    -config "$work/openssl.cnf" -extensions authority -out "$work/ca.pem"
key "$work/localhost-key.pem"
openssl req -new -key "$work/localhost-key.pem" -subj /CN=localhost \
    -config "$work/openssl.cnf" -out "$work/localhost.csr"
openssl x509 -req -in "$work/localhost.csr" -sha256 -days "$DAYS" \
    -CA "$work/ca.pem" -CAkey "$work/ca-key.pem" -set_serial "0x$(openssl rand -hex 16 | sed 's/^./1/')" \
    -extfile "$work/openssl.cnf" -extensions leaf -out "$work/leaf.pem" 2>/dev/null
cat "$work/leaf.pem" "$work/ca.pem" >"$work/localhost.pem"
openssl verify -CAfile "$work/ca.pem" "$work/leaf.pem" >/dev/null

# Each file appears whole; proxyd, watching, refuses a key that is not the certificate's and takes
# the pair once both are there.
chmod 644 "$work/ca.pem" "$work/localhost.pem"
mv "$work/ca.pem" "$work/localhost-key.pem" "$work/localhost.pem" .
echo "certs-example: made ca.pem, localhost.pem and localhost-key.pem, good for $DAYS days"
