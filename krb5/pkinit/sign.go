package pkinit

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"io"

	"skyrealm/der"
)

var null = []byte{5, 0}

// Sign puts the content into a SignedData under the key of the first
// certificate, all of which go along. No certificate makes one without a signer,
// as anonymous clients send.
func Sign(kind OID, content []byte, chain []*x509.Certificate, key crypto.Signer, rand io.Reader) ([]byte, error) {
	w := der.NewWriter(make([]byte, 0, 4096))
	end := w.Len()
	if len(chain) > 0 {
		if err := putSigner(w, kind, content, chain[0], key, rand); err != nil {
			return nil, err
		}
	}
	w.Wrap(der.Set, end)
	if len(chain) > 0 {
		mark := w.Len()
		for i := len(chain) - 1; i >= 0; i-- {
			w.Raw(chain[i].Raw)
		}
		w.Wrap(der.Context(0), mark)
	}
	mark := w.Len()
	w.Octets(der.OctetString, content)
	w.Wrap(der.Context(0), mark)
	w.String(der.OID, string(kind))
	w.Wrap(der.Sequence, mark)
	mark = w.Len()
	if len(chain) > 0 {
		Algorithm{OID: SHA256, Params: null}.Marshal(w)
	}
	w.Wrap(der.Set, mark)
	w.Int(der.Integer, 3) // as the content is no plain data (RFC 5652 §5.1)
	w.Wrap(der.Sequence, end)
	w.Wrap(der.Context(0), end)
	w.String(der.OID, string(signedData))
	w.Wrap(der.Sequence, end)
	return w.Bytes(), nil
}

func putSigner(w *der.Writer, kind OID, content []byte, c *x509.Certificate, key crypto.Signer, rand io.Reader) error {
	hash := sha256.Sum256(content)
	attrs := signedAttributes(kind, hash[:])
	algorithm := Algorithm{OID: oid(1, 2, 840, 10045, 4, 3, 2)}
	if _, ok := key.Public().(*rsa.PublicKey); ok {
		algorithm = Algorithm{OID: rsaEncryption, Params: null} // which every client knows (RFC 3370 §3.2)
	}
	hash = sha256.Sum256(attrs)
	signature, err := key.Sign(rand, hash[:], crypto.SHA256)
	if err != nil {
		return fmt.Errorf("pkinit: sign: %w", err)
	}
	end := w.Len()
	w.Octets(der.OctetString, signature)
	algorithm.Marshal(w)
	attrs[0] = byte(der.Context(0))
	w.Raw(attrs)
	Algorithm{OID: SHA256, Params: null}.Marshal(w)
	mark := w.Len()
	putUnsigned(w, c.SerialNumber.Bytes())
	w.Raw(c.RawIssuer)
	w.Wrap(der.Sequence, mark)
	w.Int(der.Integer, 1)
	w.Wrap(der.Sequence, end)
	return nil
}

// signedAttributes are a SET, which DER sorts by encoding: the shorter one of
// the two is first.
func signedAttributes(kind OID, hash []byte) []byte {
	w := der.NewWriter(nil)
	end := w.Len()
	w.Octets(der.OctetString, hash)
	w.Wrap(der.Set, end)
	w.String(der.OID, string(attrDigest))
	w.Wrap(der.Sequence, end)
	mark := w.Len()
	w.String(der.OID, string(kind))
	w.Wrap(der.Set, mark)
	w.String(der.OID, string(attrContentType))
	w.Wrap(der.Sequence, mark)
	w.Wrap(der.Set, end)
	return bytes.Clone(w.Bytes())
}
