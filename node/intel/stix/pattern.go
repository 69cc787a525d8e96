package stix

import (
	"fmt"
	"strings"
)

// Bounds of a pattern.
const (
	maxPattern = 16 << 10 // bytes
	maxDepth   = 32       // parentheses within one another
	maxValues  = 1024     // values of all comparisons together
)

// comparison is a comparison of a pattern: path = values[0], or path IN values.
type comparison struct {
	at     int // byte of the pattern
	path   string
	values []string
}

// patternError is why a pattern is not mapped, with its place.
type patternError struct {
	at   int
	text string
}

func (e *patternError) Error() string { return fmt.Sprintf("at byte %d: %s", e.at, e.text) }

// token is a word, a string, or a sign.
type token struct {
	at   int
	kind byte // 'w' word, 's' string, 'n' number or typed constant, 0 end, else the sign itself
	text string
}

// parser reads patterns of STIX 2.1, section 9, of the part that is a choice between
// values: comparisons with = and IN, joined by OR, within and between observations.
// For such a pattern each comparison alone makes the whole match.
type parser struct {
	text   string
	pos    int
	next   token
	depth  int
	values int
	out    []comparison
}

// choices are the comparisons of a pattern any of which makes it match, or a
// *patternError.
func choices(text string) (out []comparison, err error) {
	if len(text) > maxPattern {
		return nil, &patternError{maxPattern, fmt.Sprintf("the pattern has more than %d bytes", maxPattern)}
	}
	defer func() {
		if e, ok := recover().(*patternError); ok {
			out, err = nil, e
		}
	}()
	p := &parser{text: text}
	p.advance()
	p.observations()
	if p.next.kind != 0 {
		p.unexpected("the end, or OR")
	}
	return p.out, nil
}

func (p *parser) fail(at int, format string, args ...any) {
	panic(&patternError{at, fmt.Sprintf(format, args...)})
}

// others are operators and qualifiers of the language that are no choice between
// values.
var others = map[string]string{
	"AND": "needs several things at once", "FOLLOWEDBY": "needs an order in time", "NOT": "is a negation", "LIKE": "is a match with wild cards",
	"MATCHES": "is a regular expression", "ISSUBSET": "compares sets", "ISSUPERSET": "compares sets", "EXISTS": "asks for presence alone",
	"WITHIN": "bounds the time", "REPEATS": "counts", "START": "bounds the time", "STOP": "bounds the time",
}

// unexpected says why the next token cannot stand here.
func (p *parser) unexpected(want string) {
	t := p.next
	if why, ok := others[t.text]; ok && t.kind == 'w' {
		p.fail(t.at, "%s %s, which is not supported; only = and IN, joined by OR, are", t.text, why)
	}
	switch t.kind {
	case 0:
		p.fail(t.at, "the pattern ends; expected %s", want)
	case '!', '<', '>':
		p.fail(t.at, "%c is not supported; only = and IN, joined by OR, are", t.kind)
	}
	p.fail(t.at, "found %.40q; expected %s", t.text, want)
}

func (p *parser) take(kind byte, want string) token {
	t := p.next
	if t.kind != kind {
		p.unexpected(want)
	}
	p.advance()
	return t
}

func (p *parser) word(w string) bool {
	if p.next.kind == 'w' && p.next.text == w {
		p.advance()
		return true
	}
	return false
}

// nested reads what is in parentheses.
func (p *parser) nested(read func()) {
	if p.depth++; p.depth > maxDepth {
		p.fail(p.next.at, "parentheses are nested more than %d deep", maxDepth)
	}
	p.advance()
	read()
	p.take(')', "a closing parenthesis")
	p.depth--
}

func (p *parser) observations() {
	for {
		switch p.next.kind {
		case '[':
			p.advance()
			p.comparisons()
			p.take(']', "a closing bracket")
		case '(':
			p.nested(p.observations)
		default:
			p.unexpected("an observation in brackets")
		}
		if !p.word("OR") {
			return
		}
	}
}

func (p *parser) comparisons() {
	for {
		if p.next.kind == '(' {
			p.nested(p.comparisons)
		} else {
			p.comparison()
		}
		if !p.word("OR") {
			return
		}
	}
}

func (p *parser) comparison() {
	if _, other := others[p.next.text]; other {
		p.unexpected("a comparison")
	}
	c := comparison{at: p.next.at}
	c.path = p.take('w', "the path of an object, such as user-account:account_login").text
	switch {
	case p.next.kind == '=':
		p.advance()
		c.values = []string{p.value()}
	case p.word("IN"):
		p.take('(', "an opening parenthesis")
		for {
			c.values = append(c.values, p.value())
			if p.next.kind != ',' {
				break
			}
			p.advance()
		}
		p.take(')', "a comma or a closing parenthesis")
	default:
		p.unexpected("= or IN")
	}
	p.out = append(p.out, c)
}

func (p *parser) value() string {
	if p.values++; p.values > maxValues {
		p.fail(p.next.at, "the pattern has more than %d values", maxValues)
	}
	if p.next.kind == 'n' {
		p.fail(p.next.at, "the value %.40q is no string", p.next.text)
	}
	return p.take('s', "a value in single quotes").text
}

// advance reads the next token. A word takes in a path: object:property.'key'[0].x
func (p *parser) advance() {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n\v\f", p.text[p.pos]) >= 0 {
		p.pos++
	}
	at := p.pos
	if at == len(p.text) {
		p.next = token{at: at}
		return
	}
	c := p.text[at]
	switch {
	case c == '\'':
		p.next = token{at, 's', p.quoted()}
	case letter(c):
		for p.pos < len(p.text) && part(p.text[p.pos]) {
			p.pos++
		}
		if p.pos < len(p.text) && p.text[p.pos] == '\'' { // b'…', h'…', t'…'
			p.next = token{at, 'n', p.text[at:p.pos] + p.quoted()}
			return
		}
		if p.pos < len(p.text) && p.text[p.pos] == ':' {
			p.path()
		}
		p.next = token{at, 'w', p.text[at:p.pos]}
	case c >= '0' && c <= '9' || c == '-' || c == '+':
		for p.pos++; p.pos < len(p.text) && (part(p.text[p.pos]) || p.text[p.pos] == '.'); p.pos++ {
		}
		p.next = token{at, 'n', p.text[at:p.pos]}
	default:
		p.pos++
		p.next = token{at, c, p.text[at:p.pos]}
	}
}

// path reads the part of a path after the name of the object.
func (p *parser) path() {
	p.pos++
	for p.pos < len(p.text) {
		switch c := p.text[p.pos]; {
		case part(c) || c == '.' || c == '*':
			p.pos++
		case c == '\'':
			p.quoted()
		case c == '[':
			end := strings.IndexByte(p.text[p.pos:], ']')
			if end < 0 {
				p.fail(p.pos, "an index is not closed")
			}
			p.pos += end + 1
		default:
			return
		}
	}
}

// quoted reads a string with its quotes.
func (p *parser) quoted() string {
	at := p.pos
	var b strings.Builder
	for p.pos++; p.pos < len(p.text); p.pos++ {
		switch c := p.text[p.pos]; c {
		case '\'':
			p.pos++
			return b.String()
		case '\\':
			p.pos++
			if p.pos == len(p.text) || p.text[p.pos] != '\\' && p.text[p.pos] != '\'' {
				p.fail(p.pos-1, "a backslash stands before neither a quote nor a backslash")
			}
			b.WriteByte(p.text[p.pos])
		default:
			b.WriteByte(c)
		}
	}
	p.fail(at, "a string is not closed")
	return ""
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }
func part(c byte) bool   { return letter(c) || c >= '0' && c <= '9' || c == '-' }
