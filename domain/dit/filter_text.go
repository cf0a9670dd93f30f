package dit

import (
	"strings"
	"unicode/utf8"
)

// ParseFilter reads the string form of a filter (RFC 4515 §3).
func ParseFilter(text string) (*Filter, error) {
	p := filterParser{s: text}
	f, err := p.filter(0)
	if err == nil && p.i != len(text) {
		err = ErrFilterSyntax
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

type filterParser struct {
	s string
	i int
}

func (p *filterParser) take(c byte) bool {
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

// filter reads one filter, which depth others enclose.
func (p *filterParser) filter(depth int) (f *Filter, err error) {
	if !p.take('(') {
		return nil, ErrFilterSyntax
	}
	switch {
	case p.take('&'):
		f = And()
	case p.take('|'):
		f = Or()
	case p.take('!'):
		f = &Filter{Op: OpNot}
	default:
		if f, err = p.item(); err != nil {
			return nil, err
		}
	}
	if f.Op <= OpNot {
		if depth >= MaxFilterDepth {
			return nil, ErrFilterDepth
		}
		for p.i < len(p.s) && p.s[p.i] == '(' {
			sub, err := p.filter(depth + 1)
			if err != nil {
				return nil, err
			}
			f.Subs = append(f.Subs, sub)
		}
	}
	if !p.take(')') || f.Op == OpNot && len(f.Subs) != 1 {
		return nil, ErrFilterSyntax
	}
	return f, nil
}

func (p *filterParser) item() (*Filter, error) {
	text := p.s[p.i:]
	if end := strings.IndexAny(text, "()"); end >= 0 {
		text = text[:end]
	}
	p.i += len(text)
	eq := strings.IndexByte(text, '=')
	if eq < 1 {
		return nil, ErrFilterSyntax
	}
	name, value := text[:eq], text[eq+1:]
	op := OpEqual
	switch name[eq-1] {
	case '~':
		op = OpApprox
	case '>':
		op = OpGreaterOrEqual
	case '<':
		op = OpLessOrEqual
	case ':':
		return extensible(name[:eq-1], value)
	}
	if op != OpEqual {
		name = name[:eq-1]
	}
	if !ValidDescription(name) {
		return nil, ErrFilterSyntax
	}
	if op == OpEqual && strings.IndexByte(value, '*') >= 0 {
		return substrings(name, value)
	}
	v, ok := unescape(value)
	if !ok {
		return nil, ErrFilterSyntax
	}
	return assertion(op, name, v), nil
}

func substrings(name, value string) (*Filter, error) {
	if value == "*" {
		return Present(name), nil
	}
	var parts [][]byte
	for i, text := range strings.Split(value, "*") {
		part, ok := unescape(text)
		last := i == strings.Count(value, "*")
		if !ok || len(part) == 0 && i > 0 && !last {
			return nil, ErrFilterSyntax
		}
		if len(part) == 0 {
			part = nil
		}
		parts = append(parts, part)
	}
	n := len(parts) - 1
	var any [][]byte
	if n > 1 {
		any = parts[1:n]
	}
	return Substrings(name, parts[0], any, parts[n]), nil
}

// extensible reads attr[:dn][:rule]:=value and [:dn]:rule:=value, of which left
// is what stands before ":=".
func extensible(left, value string) (*Filter, error) {
	v, ok := unescape(value)
	name, more, some := strings.Cut(left, ":")
	dn, rule := false, ""
	if some {
		first, second, two := strings.Cut(more, ":")
		switch {
		case strings.EqualFold(first, "dn"):
			dn, rule = true, second
			some = two
		case two:
			return nil, ErrFilterSyntax
		default:
			rule = first
		}
	}
	if !ok || name != "" && !ValidDescription(name) || some && !ValidDescription(rule) || name == "" && rule == "" {
		return nil, ErrFilterSyntax
	}
	return Extensible(rule, name, v, dn), nil
}

// ValidDescription reports whether s can be an attribute description: a name or
// an object identifier, with options (RFC 4512 §2.5).
func ValidDescription[S ~string | ~[]byte](s S) bool {
	if len(s) == 0 || s[0] == '-' || s[0] == ';' {
		return false
	}
	for i := 0; i < len(s); i++ {
		// The underscore is no character of RFC 4512, but of names in use.
		if c := s[i]; !isAttrByte(c) && c != ';' && c != '_' {
			return false
		}
	}
	return true
}

// unescape reads an assertion value: everything but ( ) * \ and NUL stands for
// itself, and \xx for any byte.
func unescape(text string) (value []byte, ok bool) {
	value = make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch c {
		case '*', 0:
			return nil, false
		case '\\':
			if i+2 >= len(text) {
				return nil, false
			}
			hi, ok1 := unhex(text[i+1])
			lo, ok2 := unhex(text[i+2])
			if !ok1 || !ok2 {
				return nil, false
			}
			c = hi<<4 | lo
			i += 2
		}
		value = append(value, c)
	}
	return value, true
}

// String returns the string form, from which ParseFilter makes an equal filter.
func (f *Filter) String() string { return string(f.append(nil)) }

func (f *Filter) append(b []byte) []byte {
	b = append(b, '(')
	switch f.Op {
	case OpAnd, OpOr, OpNot:
		b = append(b, "&|!"[f.Op])
		for _, sub := range f.Subs {
			b = sub.append(b)
		}
	case OpPresent:
		b = append(append(b, f.Name...), "=*"...)
	case OpSubstrings:
		b = append(append(b, f.Name...), '=')
		b = append(appendValue(b, f.Value), '*')
		for _, part := range f.Any {
			b = append(appendValue(b, part), '*')
		}
		b = appendValue(b, f.Final)
	case OpExtensible:
		b = append(b, f.Name...)
		if f.DNAttrs {
			b = append(b, ":dn"...)
		}
		if f.Rule != "" {
			b = append(append(b, ':'), f.Rule...)
		}
		b = appendValue(append(b, ":="...), f.Value)
	default:
		b = append(b, f.Name...)
		switch f.Op {
		case OpGreaterOrEqual:
			b = append(b, '>')
		case OpLessOrEqual:
			b = append(b, '<')
		case OpApprox:
			b = append(b, '~')
		}
		b = appendValue(append(b, '='), f.Value)
	}
	return append(b, ')')
}

// appendValue escapes what RFC 4515 §3 wants, and what is no printable UTF-8 so
// that a filter can stand in a log line.
func appendValue(b, value []byte) []byte {
	for len(value) > 0 {
		r, n := utf8.DecodeRune(value)
		if r == utf8.RuneError && n == 1 || r < 0x20 || 0x7f <= r && r < 0xa0 || strings.ContainsRune(`*()\`, r) {
			for _, c := range value[:n] {
				b = append(b, '\\', hexDigits[c>>4], hexDigits[c&15])
			}
		} else {
			b = append(b, value[:n]...)
		}
		value = value[n:]
	}
	return b
}
