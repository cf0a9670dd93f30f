package cred

import (
	"crypto/rand"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func BenchmarkSeal(b *testing.B) {
	p, l := testKey(b).Public(), testLegacy(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Seal(testBinding, l, rand.Reader); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	key := testKey(b)
	s := mustSeal(b, key.Public(), testBinding, testLegacy(b))
	b.ReportMetric(float64(len(s)), "bytes")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := key.Open(testBinding, s); err != nil {
			b.Fatal(err)
		}
	}
}

// For comparison: the same work by the library.
func BenchmarkGoJoseSeal(b *testing.B) {
	p, l := testKey(b).Public(), testLegacy(b)
	b.ReportAllocs()
	for b.Loop() {
		plain, err := marshalPayload(testBinding, l)
		if err != nil {
			b.Fatal(err)
		}
		joseSeal(b, p, plain, nil)
	}
}

func BenchmarkGoJoseOpen(b *testing.B) {
	key := testKey(b)
	private := josePrivate(b, key)
	s := string(mustSeal(b, key.Public(), testBinding, testLegacy(b)))
	b.ReportAllocs()
	for b.Loop() {
		obj, err := jose.ParseEncryptedCompact(s, []jose.KeyAlgorithm{jose.ECDH_ES}, []jose.ContentEncryption{jose.A256GCM})
		if err != nil {
			b.Fatal(err)
		}
		plain, err := obj.Decrypt(private)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := unmarshalPayload(plain, testBinding); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheckSealed(b *testing.B) {
	p := testKey(b).Public()
	s := mustSeal(b, p, testBinding, testLegacy(b))
	b.ReportAllocs()
	for b.Loop() {
		if err := CheckSealed(s, p.KeyID()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRingSeal(b *testing.B) {
	r, plain := testRing(b), make([]byte, 900)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Seal(nil, plain, testPlace, rand.Reader); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRingOpen(b *testing.B) {
	r := testRing(b)
	sealed, _ := r.Seal(nil, make([]byte, 900), testPlace, rand.Reader)
	buf := make([]byte, 0, 1200)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Open(buf, sealed, testPlace); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDigest(b *testing.B) {
	text := digestVectors[0].text
	d, _ := ParseDigest(text)
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ParseDigest(text)
		}
	})
	b.Run("verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			d.Verify("Pa$$w0rd")
		}
	})
}

func BenchmarkNewLegacy(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		NewLegacy("Pa$$w0rd", "ADATUM.COMuser02")
	}
}
