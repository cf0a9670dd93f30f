package etype

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

// message has a length that is no multiple of a block.
var message = []byte("forty-two bytes of a plaintext that matters")

func TestProfiles(t *testing.T) {
	for _, v := range []struct {
		id                        ID
		key, overhead, confounder int
		checksum                  int32
		rounds                    uint32
		name                      string
	}{
		{17, 16, 28, 16, 15, 4096, "aes128-cts-hmac-sha1-96"},
		{18, 32, 28, 16, 16, 4096, "aes256-cts-hmac-sha1-96"},
		{19, 16, 32, 16, 19, 32768, "aes128-cts-hmac-sha256-128"},
		{20, 32, 40, 16, 20, 32768, "aes256-cts-hmac-sha384-192"},
		{23, 16, 24, 24, -138, 0, "rc4-hmac"},
		{0, 0, 0, 0, 0, 0, "etype 0"},
		{-128, 0, 0, 0, 0, 0, "etype -128"},
		{16, 0, 0, 0, 0, 0, "etype 16"},
		{24, 0, 0, 0, 0, 0, "etype 24"},
		{1<<31 - 1, 0, 0, 0, 0, 0, "etype 2147483647"},
	} {
		if v.id.KeySize() != v.key || v.id.Overhead() != v.overhead || v.id.Confounder() != v.confounder ||
			v.id.ChecksumType() != v.checksum || v.id.DefaultIterations() != v.rounds ||
			v.id.Known() != (v.key > 0) || v.id.String() != v.name {
			t.Errorf("%d is not %+v", v.id, v)
		}
	}
}

// Every byte of a ciphertext is covered, every shorter one refused, and neither
// plaintext nor a changed ciphertext is left behind.
func TestDecryptRefuses(t *testing.T) {
	for _, id := range etypes {
		k, _ := Random(id, rand.Reader)
		ct, err := k.Encrypt(nil, message, 3, rand.Reader)
		if err != nil || len(ct) != len(message)+id.Overhead() {
			t.Fatal(id, len(ct), err)
		}
		orig := bytes.Clone(ct)
		for i := range ct {
			ct[i] ^= 0x40
			buf := make([]byte, 4, 200)
			if got, err := k.Decrypt(buf, ct, 3); got != nil || !errors.Is(err, ErrIntegrity) {
				t.Fatalf("%v: changed byte %d gives %x %v", id, i, got, err)
			}
			if !bytes.Equal(buf[:cap(buf)], make([]byte, cap(buf))) {
				t.Fatalf("%v: refused plaintext left in dst: %x", id, buf[:cap(buf)])
			}
			ct[i] ^= 0x40
		}
		for n := range ct {
			if got, err := k.Decrypt(nil, ct[:n], 3); got != nil || !errors.Is(err, ErrIntegrity) {
				t.Fatalf("%v: %d bytes give %x %v", id, n, got, err)
			}
			if got, err := k.Cipher(3).Decrypt(nil, ct[:n]); got != nil || !errors.Is(err, ErrIntegrity) {
				t.Fatalf("%v: %d bytes give %x %v", id, n, got, err)
			}
		}
		if _, err := k.Decrypt(nil, append(bytes.Clone(ct), 0), 3); !errors.Is(err, ErrIntegrity) {
			t.Errorf("%v: a byte more: %v", id, err)
		}
		if _, err := k.Decrypt(nil, ct, 4); !errors.Is(err, ErrIntegrity) {
			t.Errorf("%v: another usage: %v", id, err)
		}
		other, _ := Random(id, rand.Reader)
		if _, err := other.Decrypt(nil, ct, 3); !errors.Is(err, ErrIntegrity) {
			t.Errorf("%v: another key: %v", id, err)
		}
		if !bytes.Equal(ct, orig) {
			t.Errorf("%v: Decrypt changed the ciphertext", id)
		}
		if got, err := k.Decrypt([]byte("prefix "), ct, 3); err != nil || string(got) != "prefix "+string(message) {
			t.Errorf("%v: %q %v", id, got, err)
		}
	}
}

func TestVerifyChecksumRefuses(t *testing.T) {
	for _, id := range etypes {
		k, _ := Random(id, rand.Reader)
		sum := k.Checksum([]byte("x"), message, 17)
		if sum[0] != 'x' {
			t.Fatal("Checksum does not append")
		}
		sum = sum[1:]
		if err := k.VerifyChecksum(message, sum, 17); err != nil {
			t.Fatal(id, err)
		}
		for i := range sum {
			sum[i] ^= 1
			if err := k.VerifyChecksum(message, sum, 17); !errors.Is(err, ErrIntegrity) {
				t.Errorf("%v: changed byte %d: %v", id, i, err)
			}
			sum[i] ^= 1
			if err := k.VerifyChecksum(message, sum[:i], 17); !errors.Is(err, ErrIntegrity) {
				t.Errorf("%v: %d bytes: %v", id, i, err)
			}
		}
		if err := k.VerifyChecksum(message, append(sum, 0), 17); !errors.Is(err, ErrIntegrity) {
			t.Errorf("%v: a byte more: %v", id, err)
		}
		if err := k.VerifyChecksum(message[1:], sum, 17); !errors.Is(err, ErrIntegrity) {
			t.Errorf("%v: another message: %v", id, err)
		}
		if err := k.VerifyChecksum(message, sum, 6); !errors.Is(err, ErrIntegrity) {
			t.Errorf("%v: another usage: %v", id, err)
		}
	}
}

func TestEncryptInPlace(t *testing.T) {
	conf := bytes.Repeat([]byte{7}, 16)
	for _, id := range etypes {
		k, _ := Random(id, rand.Reader)
		c := k.Cipher(2)
		for n := range 50 {
			plain := bytes.Repeat([]byte{byte(n)}, n)
			expect, err := k.Encrypt([]byte("dst"), plain, 2, bytes.NewReader(conf))
			if err != nil {
				t.Fatal(err)
			}
			buf := bytes.Repeat([]byte{0xee}, n+id.Overhead()) // the room may hold anything
			copy(buf[id.Confounder():], plain)
			if err := c.EncryptInPlace(buf, bytes.NewReader(conf)); err != nil || !bytes.Equal(buf, expect[3:]) {
				t.Fatalf("%v, %d bytes: %x %v, expect %x", id, n, buf, err, expect)
			}
			overlap := make([]byte, n, n+100)
			copy(overlap, plain)
			got, err := c.Encrypt(overlap[:0], overlap, bytes.NewReader(conf))
			if err != nil || !bytes.Equal(got, expect[3:]) {
				t.Fatalf("%v, %d bytes, overlapping: %x %v", id, n, got, err)
			}
		}
		if err := c.EncryptInPlace(make([]byte, id.Overhead()-1), rand.Reader); !errors.Is(err, ErrRoom) {
			t.Errorf("%v: no room: %v", id, err)
		}
		broken := errors.New("out of luck")
		if got, err := k.Encrypt(nil, message, 2, iotest.ErrReader(broken)); got != nil || !errors.Is(err, broken) {
			t.Errorf("%v: without randomness: %x %v", id, got, err)
		}
	}
}

func TestZeroAndUnknown(t *testing.T) {
	var k Key
	c := k.Cipher(1)
	_, enc := k.Encrypt(nil, nil, 1, rand.Reader)
	_, dec := k.Decrypt(nil, make([]byte, 100), 1)
	_, cenc := c.Encrypt(nil, nil, rand.Reader)
	_, cdec := c.Decrypt(nil, make([]byte, 100))
	_, nk := NewKey(3, make([]byte, 8))
	_, rk := Random(99, rand.Reader)
	_, sk := StringToKey(-1, "x", "", 0)
	_, cf1 := CF2(k, mustKey(t, RC4, strings.Repeat("00", 16)), "a", "b")
	_, cf2 := CF2(mustKey(t, RC4, strings.Repeat("00", 16)), k, "a", "b")
	for i, err := range []error{enc, dec, cenc, cdec, c.EncryptInPlace(make([]byte, 100), rand.Reader),
		k.VerifyChecksum(nil, nil, 1), nk, rk, sk, cf1, cf2} {
		if !errors.Is(err, ErrUnknown) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if !k.IsZero() || k.PRF(nil) != nil || k.Checksum(nil, nil, 1) != nil || len(k.Expose()) != 0 {
		t.Error("the zero Key does something")
	}
	for _, n := range []int{0, 15, 17, 31, 33} {
		if _, err := NewKey(AES256SHA1, make([]byte, n)); !errors.Is(err, ErrKeyLength) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestStringToKeyLimits(t *testing.T) {
	if _, err := StringToKey(AES256SHA1, "x", "y", MaxIterations+1); !errors.Is(err, ErrIterations) {
		t.Error(err)
	}
	if _, err := StringToKey(RC4, "pass\xff", "", 0); !errors.Is(err, ErrNotUTF8) {
		t.Error(err)
	}
	if _, err := StringToKey(RC4, "\xed\xa0\x80", "", 0); !errors.Is(err, ErrNotUTF8) {
		t.Error("half a surrogate pair is taken:", err)
	}
}

func TestKeyIsAValue(t *testing.T) {
	b := bytes.Repeat([]byte{5}, 16)
	k, _ := NewKey(AES128SHA1, b)
	b[0] = 0
	if k.Expose()[0] != 5 {
		t.Error("NewKey keeps the caller's bytes")
	}
	k.Expose()[0] = 0
	if k.Expose()[0] != 5 {
		t.Error("Expose gives its own bytes away")
	}
	same, _ := NewKey(AES128SHA1, bytes.Repeat([]byte{5}, 16))
	otherType, _ := NewKey(AES128SHA2, bytes.Repeat([]byte{5}, 16))
	otherBytes, _ := NewKey(AES128SHA1, bytes.Repeat([]byte{6}, 16))
	if !k.Equal(same) || k.Equal(otherType) || k.Equal(otherBytes) || k.IsZero() || k.ID() != AES128SHA1 {
		t.Error("Equal")
	}
}

func TestRedacted(t *testing.T) {
	k, _ := NewKey(AES128SHA1, []byte("SECRETsecretSECR"))
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "key", k, "in", struct{ K Key }{k})
	j, _ := json.Marshal(map[string]any{"k": k, "in": &struct{ K Key }{k}})
	out := logged.String() + string(j) + fmt.Sprint(k, &k, []Key{k}, struct{ K Key }{k}) +
		fmt.Sprintf("%v %+v %#v %s %q %x %X %d %p %T", k, k, k, k, k, k, k, k, &k, k) + k.String() + k.GoString()
	for _, leak := range []string{"SECRET", "5345", "83 69", "U0VD"} {
		if strings.Contains(out, leak) {
			t.Errorf("%q in %s", leak, out)
		}
	}
	if n := strings.Count(out, redacted); n < 14 {
		t.Errorf("%d times redacted: %s", n, out)
	}
}

// One Cipher in many goroutines; meant for -race.
func TestConcurrent(t *testing.T) {
	for _, id := range etypes {
		k, _ := Random(id, rand.Reader)
		c := k.Cipher(2)
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for i := range 200 {
					plain := bytes.Repeat([]byte{byte(g)}, i)
					ct, err := c.Encrypt(nil, plain, rand.Reader)
					if err != nil {
						t.Error(err)
						return
					}
					if got, err := c.Decrypt(nil, ct); err != nil || !bytes.Equal(got, plain) {
						t.Errorf("%v: %x %v", id, got, err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
}

func FuzzDecrypt(f *testing.F) {
	for i, id := range etypes {
		k, _ := NewKey(id, make([]byte, id.KeySize()))
		for _, n := range []int{0, 1, 15, 16, 17, 32, 40} {
			ct, _ := k.Encrypt(nil, make([]byte, n), 1, bytes.NewReader(make([]byte, 16)))
			f.Add(byte(i), ct)
			f.Add(byte(i), ct[:len(ct)-n/2-1])
		}
	}
	f.Fuzz(func(t *testing.T, which byte, ct []byte) {
		id := etypes[int(which)%len(etypes)]
		k, _ := NewKey(id, make([]byte, id.KeySize()))
		orig := bytes.Clone(ct)
		got, err := k.Decrypt(nil, ct, 1)
		cached, cerr := k.Cipher(1).Decrypt(nil, ct)
		if !bytes.Equal(ct, orig) || !bytes.Equal(got, cached) || (err == nil) != (cerr == nil) {
			t.Fatal("Key and Cipher differ, or the input was changed")
		}
		if err != nil && err != ErrIntegrity || err == nil && len(got) != len(ct)-id.Overhead() {
			t.Fatal(len(got), err)
		}
	})
}

func FuzzVerifyChecksum(f *testing.F) {
	for i, id := range etypes {
		k, _ := NewKey(id, make([]byte, id.KeySize()))
		f.Add(byte(i), []byte("message"), k.Checksum(nil, []byte("message"), 6))
		f.Add(byte(i), []byte{}, []byte{})
	}
	f.Fuzz(func(t *testing.T, which byte, msg, mac []byte) {
		id := etypes[int(which)%len(etypes)]
		k, _ := NewKey(id, make([]byte, id.KeySize()))
		err := k.VerifyChecksum(msg, mac, 6)
		if (err == nil) != bytes.Equal(mac, k.Checksum(nil, msg, 6)) || err != nil && err != ErrIntegrity {
			t.Fatal(err)
		}
	})
}

// TestReady: made ready or not, a key makes the same checksums and ciphertexts under every
// usage, and is the same key.
func TestReady(t *testing.T) {
	for _, id := range []ID{AES128SHA1, AES256SHA1, AES128SHA2, AES256SHA2, RC4} {
		k, err := Random(id, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		for i, ready := range []Key{k.WithChecksum(17), k.Ready(), k.Ready().Ready(), k.Ready().WithChecksum(17), k.WithChecksum(17).Ready()} {
			if !ready.Equal(k) || ready.ID() != id {
				t.Errorf("%v, %d: another key", id, i)
			}
			for _, usage := range []uint32{17, 6} {
				want := k.Checksum(nil, []byte("message"), usage)
				if got := ready.Checksum(nil, []byte("message"), usage); !bytes.Equal(got, want) {
					t.Errorf("%v, %d, usage %d: %x, want %x", id, i, usage, got, want)
				}
				if ready.VerifyChecksum([]byte("message"), want, usage) != nil || ready.VerifyChecksum([]byte("massage"), want, usage) == nil {
					t.Errorf("%v, %d, usage %d: does not verify", id, i, usage)
				}
				ct, err := ready.Encrypt(nil, []byte("message"), usage, rand.Reader)
				if err != nil {
					t.Fatal(err)
				}
				if plain, err := k.Decrypt(nil, ct, usage); err != nil || string(plain) != "message" {
					t.Errorf("%v, %d, usage %d: decrypts to %q, %v", id, i, usage, plain, err)
				}
			}
		}
	}
	if z := (Key{}).WithChecksum(17).Ready(); !z.IsZero() {
		t.Error("the zero Key became one")
	}
}

// TestLengths: a Cipher and its Key, which go through blocks in different ways, make and
// open the same ciphertexts of every length.
func TestLengths(t *testing.T) {
	chance := bytes.Repeat([]byte{7}, 64)
	msg := make([]byte, 2*oneMode+40)
	for i := range msg {
		msg[i] = byte(i * 31)
	}
	for _, id := range []ID{AES128SHA1, AES256SHA1, AES128SHA2, AES256SHA2, RC4} {
		k, err := Random(id, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := k.Cipher(2)
		for n := range len(msg) {
			byKey, err := k.Encrypt(nil, msg[:n], 2, bytes.NewReader(chance))
			if err != nil {
				t.Fatal(err)
			}
			byCipher, err := c.Encrypt(nil, msg[:n], bytes.NewReader(chance))
			if err != nil || !bytes.Equal(byKey, byCipher) {
				t.Fatalf("%v, %d bytes: %x by the key, %x by the cipher, %v", id, n, byKey, byCipher, err)
			}
			if plain, err := c.Decrypt(nil, byKey); err != nil || !bytes.Equal(plain, msg[:n]) {
				t.Fatalf("%v, %d bytes: %x, %v", id, n, plain, err)
			}
		}
	}
}
