package nbfx

import (
	"encoding/binary"
	"math"
)

// Append writes the tree as the records it came from: texts with their types,
// names of the dictionary as ids, a text and the end of its element in one record:
// what a writer of the shortest forms sent, such as the Python agent's, comes out
// byte for byte. Arrays come out as the elements that they stand for.
func (e *Element) Append(dst []byte) []byte {
	dst = appendStart(dst, e.Prefix, e.Local)
	for i := range e.Attrs {
		a := &e.Attrs[i]
		if a.Namespace != nsXMLNS {
			dst = appendAttribute(dst, a.Prefix, a.Local)
			dst = a.Value.append(dst, false)
			continue
		}
		dst = appendXmlns(dst, a)
	}
	for i, n := range e.Nodes {
		switch {
		case n.Element != nil:
			dst = n.Element.Append(dst)
		case n.Value.kind == comment:
			dst = appendBytes(appendInt31(append(dst, comment), len(n.Value.raw)), n.Value.raw)
		case i == len(e.Nodes)-1:
			return n.Value.append(dst, true)
		default:
			dst = n.Value.append(dst, false)
		}
	}
	return append(dst, endElement)
}

// append writes the record of a text, or the one that ends the element as well.
func (v Value) append(dst []byte, end bool) []byte {
	odd := byte(0)
	if end {
		odd = 1
	}
	switch v.kind {
	case 0:
		return append(dst, emptyText|odd)
	case startList:
		return append(appendBytes(append(dst, startList), v.raw), endList|odd)
	}
	dst = append(dst, v.kind|odd)
	switch lengthSize(v.kind) {
	case 1:
		dst = append(dst, byte(len(v.raw)))
	case 2:
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(v.raw)))
	case 4:
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(v.raw)))
	}
	return appendBytes(dst, v.raw)
}

func appendBytes(dst, b []byte) []byte { return append(dst, b...) }

func appendInt31(dst []byte, n int) []byte {
	return binary.AppendUvarint(dst, uint64(n)) // the same bytes: 7 bits, low group first
}

func appendString(dst []byte, s string) []byte {
	return append(appendInt31(dst, len(s)), s...)
}

// appendName writes the id of a word of the dictionary, or the name itself, after
// the record type that says which.
func appendName(dst []byte, prefix, local string, kinds *[6]byte) []byte {
	id, inDictionary := ids[local]
	i := 0
	if inDictionary {
		i = 1
	}
	switch {
	case prefix == "":
		dst = append(dst, kinds[i])
	case len(prefix) == 1 && prefix[0] >= 'a' && prefix[0] <= 'z':
		dst = append(dst, kinds[4+i]+prefix[0]-'a')
	default:
		dst = appendString(append(dst, kinds[2+i]), prefix)
	}
	if inDictionary {
		return appendInt31(dst, int(id))
	}
	return appendString(dst, local)
}

// The record types of a name: without prefix, with one, with one of a letter;
// each as a string and from the dictionary.
var (
	elementKinds   = [6]byte{shortElement, shortDictElement, element, dictElement, prefixElement, prefixDictElement}
	attributeKinds = [6]byte{shortAttribute, shortDictAttribute, attribute, dictAttribute, prefixAttribute, prefixDictAttribute}
)

func appendStart(dst []byte, prefix, local string) []byte {
	return appendName(dst, prefix, local, &elementKinds)
}

func appendAttribute(dst []byte, prefix, local string) []byte {
	return appendName(dst, prefix, local, &attributeKinds)
}

func appendXmlns(dst []byte, a *Attr) []byte {
	inDictionary := a.Value.kind == dictText
	kind := byte(shortXmlns)
	if inDictionary {
		kind = shortDictXmlns
	}
	if a.Prefix == "" {
		dst = append(dst, kind)
	} else {
		dst = appendString(append(dst, kind+1), a.Local)
	}
	if !inDictionary {
		dst = appendInt31(dst, len(a.Value.raw))
	}
	return appendBytes(dst, a.Value.raw)
}

// appendText writes s as the records of a reply: true and false as such, all
// else as UTF-8 characters.
func appendText(dst []byte, s string) []byte {
	switch n := len(s); {
	case s == "true":
		return append(dst, trueText)
	case s == "false":
		return append(dst, falseText)
	case n <= math.MaxUint8:
		dst = append(dst, chars8, byte(n))
	case n <= math.MaxUint16:
		dst = binary.LittleEndian.AppendUint16(append(dst, chars16), uint16(n))
	default:
		dst = binary.LittleEndian.AppendUint32(append(dst, chars32), uint32(n))
	}
	return append(dst, s...)
}
