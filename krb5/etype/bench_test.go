package etype

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"testing"
)

// The recorded PA-ENC-TIMESTAMP of a real client has about 23 bytes.
var timestamp = []byte("0\x15\xa0\x1120261201120000Z\xa1\x05\x02\x03\x01\x02\x03")

func benchKey(b *testing.B, id ID) Key {
	k, err := Random(id, rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	return k
}

var etypes = []ID{AES128SHA1, AES256SHA1, AES128SHA2, AES256SHA2, RC4}

// Keys derived for the request, as for a user's key.
func BenchmarkVerifyTimestamp(b *testing.B) {
	for _, id := range etypes {
		b.Run(id.String(), func(b *testing.B) {
			k := benchKey(b, id)
			ct, _ := k.Encrypt(nil, timestamp, 1, rand.Reader)
			buf := make([]byte, 0, 64)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := k.Decrypt(buf, ct, 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerifyTimestampCached(b *testing.B) {
	for _, id := range etypes {
		b.Run(id.String(), func(b *testing.B) {
			c := benchKey(b, id).Cipher(1)
			ct, _ := c.Encrypt(nil, timestamp, rand.Reader)
			buf := make([]byte, 0, 64)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Decrypt(buf, ct); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncrypt1400(b *testing.B) {
	for _, id := range etypes {
		b.Run(id.String(), func(b *testing.B) {
			c := benchKey(b, id).Cipher(2)
			buf := make([]byte, 1400+id.Overhead())
			b.ReportAllocs()
			for b.Loop() {
				if err := c.EncryptInPlace(buf, rand.Reader); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecrypt1400(b *testing.B) {
	for _, id := range etypes {
		b.Run(id.String(), func(b *testing.B) {
			c := benchKey(b, id).Cipher(2)
			ct, _ := c.Encrypt(nil, make([]byte, 1400), rand.Reader)
			buf := make([]byte, 0, 1400)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Decrypt(buf, ct); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCipher(b *testing.B) {
	for _, id := range etypes {
		b.Run(id.String(), func(b *testing.B) {
			k := benchKey(b, id)
			b.ReportAllocs()
			for b.Loop() {
				k.Cipher(2)
			}
		})
	}
}

func BenchmarkChecksum1400(b *testing.B) {
	for _, id := range etypes {
		b.Run(id.String(), func(b *testing.B) {
			k, msg, buf := benchKey(b, id), make([]byte, 1400), make([]byte, 0, 64)
			b.ReportAllocs()
			for b.Loop() {
				k.Checksum(buf, msg, 17)
			}
		})
	}
}

func BenchmarkStringToKey(b *testing.B) {
	for _, id := range etypes {
		b.Run(id.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				StringToKey(id, "correct horse battery staple", "CONTOSO.TESTuser", 0)
			}
		})
	}
	// For comparison: the library's PBKDF2 with type 18's rounds.
	b.Run("crypto/pbkdf2", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			pbkdf2.Key(sha1.New, "correct horse battery staple", []byte("CONTOSO.TESTuser"), 4096, 32)
		}
	})
}
