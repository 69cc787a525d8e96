package access

import (
	"fmt"
	"unicode/utf8"
)

// scanPolicies checks what the parser must not meet: nesting, chains and sets
// beyond the bounds. It reads the text once, needs no stack of its own beyond
// maxDepth frames and understands Cedar's strings and comments. Text that it
// accepts may still be wrong Cedar.
func scanPolicies(text string) error { return scan(text, false) }

// scanSchema does the same for the schema language, in which < and > are brackets.
func scanSchema(text string) error { return scan(text, true) }

// frame is an open bracket.
type frame struct {
	open      byte // 0 at the bottom
	ifs       int  // if … then … else … nests to the right
	unary     int  // consecutive ! and -
	chain     int  // . and [ after a value
	has       bool // the chain follows has
	operators int
	commas    int
	nested    bool // holds brackets itself
}

type scanner struct {
	text   string
	at     int
	line   int
	frames []frame
	depth  int
}

func scan(text string, schema bool) error {
	if !utf8.ValidString(text) {
		return ErrSyntax.With("it is not UTF-8")
	}
	s := scanner{text: text, line: 1, frames: make([]frame, 1, 16)}
	value := false // the last token ended a value, so that - is binary and [ is a member
	for {
		token, kind, err := s.next()
		if err != nil {
			return err
		}
		if kind == tokenEnd {
			return nil
		}
		if err := s.step(token, kind, value, schema); err != nil {
			return err
		}
		value = kind == tokenString || kind == tokenNumber || kind == tokenWord && !operatorWord(token) ||
			token == ")" || token == "]" || token == "}"
	}
}

func operatorWord(w string) bool {
	switch w {
	case "if", "then", "else", "in", "has", "like", "is":
		return true
	}
	return false
}

func (s *scanner) top() *frame { return &s.frames[len(s.frames)-1] }

func (s *scanner) step(token string, kind tokenKind, value, schema bool) error {
	t := s.top()
	switch {
	case kind == tokenString:
		if len(token) > maxStringBytes {
			return ErrTooLarge.With("line %d: a string of more than %d bytes", s.line, maxStringBytes)
		}
	case kind == tokenWord && token == "if" && !schema:
		t.ifs++
		s.depth++
	case kind == tokenWord && operatorWord(token) && !schema:
		s.endChain(t)
		t.has = token == "has"
		t.operators++
	case kind == tokenWord || kind == tokenNumber:
	case token == "(" || token == "{" || token == "[" || schema && token == "<":
		if token == "[" && value {
			t.chain++
			s.depth++
		}
		if token != "(" {
			t.nested = true
		}
		s.frames = append(s.frames, frame{open: token[0]})
		s.depth++
	case token == ")" || token == "}" || token == "]" || schema && token == ">":
		if len(s.frames) == 1 {
			return nil // the parser says where
		}
		closed := *t
		s.depth -= 1 + t.ifs + t.unary + t.chain
		s.frames = s.frames[:len(s.frames)-1]
		if closed.nested && closed.open == '[' && closed.commas >= maxNestedElements {
			return ErrTooLarge.With("line %d: a set of sets or records with more than %d elements", s.line, maxNestedElements)
		}
	case token == ",":
		s.endExpression(t)
		t.commas++
		if t.commas >= maxElements && t.open != 0 {
			return ErrTooLarge.With("line %d: more than %d elements in one list", s.line, maxElements)
		}
	case token == ";":
		s.endExpression(t)
	case token == ".":
		t.chain++
		s.depth++
		if t.has && t.chain > maxHasChain {
			return ErrTooDeep.With("line %d: more than %d names after has", s.line, maxHasChain)
		}
	case (token == "!" || token == "-") && !value:
		t.unary++
		s.depth++
	case token == "::" || token == ":" || token == "@" || token == "?" || token == "=":
	default: // a binary operator
		s.endChain(t)
		t.has = false
		t.operators++
	}
	if t = s.top(); t.operators > maxOperators {
		return ErrTooLarge.With("line %d: more than %d operators in one expression", s.line, maxOperators)
	}
	if s.depth > maxDepth {
		return ErrTooDeep.With("line %d: more than %d levels of brackets, if, unary operators and members", s.line, maxDepth)
	}
	return nil
}

// endChain ends an operand.
func (s *scanner) endChain(t *frame) {
	s.depth -= t.chain + t.unary
	t.chain, t.unary = 0, 0
}

// endExpression ends an element, an argument or a statement.
func (s *scanner) endExpression(t *frame) {
	s.endChain(t)
	s.depth -= t.ifs
	t.ifs, t.operators, t.has = 0, 0, false
}

type tokenKind int

const (
	tokenEnd tokenKind = iota
	tokenWord
	tokenNumber
	tokenString
	tokenSymbol
)

func (s *scanner) next() (string, tokenKind, error) {
	for s.at < len(s.text) {
		c := s.text[s.at]
		switch {
		case c == '\n':
			s.line++
			s.at++
		case c == ' ' || c == '\t' || c == '\r':
			s.at++
		case c == 0:
			return "", tokenEnd, ErrSyntax.With("line %d: a NUL character", s.line)
		case c == '/' && s.peek(1) == '/':
			for s.at < len(s.text) && s.text[s.at] != '\n' {
				s.at++
			}
		case c == '/' && s.peek(1) == '*':
			if err := s.comment(); err != nil {
				return "", tokenEnd, err
			}
		case c == '"':
			return s.string()
		case c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80:
			return s.run(tokenWord), tokenWord, nil
		case c >= '0' && c <= '9':
			return s.run(tokenNumber), tokenNumber, nil
		default:
			n := 1
			if pair := c; s.peek(1) != 0 {
				switch string(pair) + string(s.peek(1)) {
				case "::", "!=", "==", "<=", ">=", "&&", "||":
					n = 2
				}
			}
			token := s.text[s.at : s.at+n]
			s.at += n
			return token, tokenSymbol, nil
		}
	}
	return "", tokenEnd, nil
}

func (s *scanner) peek(n int) byte {
	if s.at+n < len(s.text) {
		return s.text[s.at+n]
	}
	return 0
}

func (s *scanner) run(kind tokenKind) string {
	start := s.at
	for s.at < len(s.text) {
		c := s.text[s.at]
		digit := c >= '0' && c <= '9'
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
		if !digit && (kind == tokenNumber || !letter) {
			break
		}
		s.at++
	}
	return s.text[start:s.at]
}

func (s *scanner) string() (string, tokenKind, error) {
	start, line := s.at, s.line
	for s.at++; s.at < len(s.text); s.at++ {
		switch s.text[s.at] {
		case '\\':
			s.at++
		case '\n':
			s.line++
		case '"':
			s.at++
			return s.text[start:s.at], tokenString, nil
		}
	}
	return "", tokenEnd, ErrSyntax.With("line %d: a string that does not end", line)
}

func (s *scanner) comment() error {
	line := s.line
	for s.at += 2; s.at < len(s.text); s.at++ {
		if s.text[s.at] == '\n' {
			s.line++
		}
		if s.text[s.at] == '*' && s.peek(1) == '/' {
			s.at += 2
			return nil
		}
	}
	return ErrSyntax.With("line %d: a comment that does not end", line)
}

// scanJSON checks depth, numbers, strings and lists of a JSON text before it is
// parsed. Text that it accepts may still be no JSON.
func scanJSON(text string, maxList int) error {
	if !utf8.ValidString(text) {
		return ErrEntities.With("it is not UTF-8")
	}
	var stack []jsonFrame
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			start := i
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
			if i-start > 6*maxStringBytes {
				return ErrTooLarge.With("byte %d: a string of more than %d bytes", start, maxStringBytes)
			}
		case c == '[' || c == '{':
			if len(stack) == maxJSONDepth {
				return ErrTooDeep.With("byte %d: more than %d levels", i, maxJSONDepth)
			}
			stack = append(stack, jsonFrame{open: c})
		case c == ']' || c == '}':
			if len(stack) == 0 {
				return ErrEntities.With("byte %d: %q closes nothing", i, string(c))
			}
			f := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			if len(stack) > 0 && (f.open == '[' || f.lists) {
				stack[len(stack)-1].lists = true
			}
			if err := f.check(len(stack), maxList); err != nil {
				return ErrTooLarge.With("byte %d: %v", i, err)
			}
		case c == ',':
			if len(stack) > 0 {
				stack[len(stack)-1].commas++
			}
		case c == '-' || c >= '0' && c <= '9':
			start := i
			for i+1 < len(text) && (text[i+1] >= '0' && text[i+1] <= '9' || text[i+1] == '.' || text[i+1] == 'e' || text[i+1] == 'E' || text[i+1] == '+' || text[i+1] == '-') {
				i++
				if text[i] < '0' || text[i] > '9' {
					return ErrNumber.With("byte %d: %s…", start, text[start:min(i+1, start+24)])
				}
			}
		}
	}
	return nil
}

type jsonFrame struct {
	open   byte
	commas int
	lists  bool // holds a list, at any depth
}

// check bounds a closed list or object below depth others. maxList is the bound
// of the outermost list.
func (f jsonFrame) check(depth, maxList int) error {
	switch {
	case depth == 0 && f.open == '[':
		if f.commas >= maxList {
			return fmt.Errorf("more than %d entries", maxList)
		}
	case f.open == '{':
		if f.commas >= maxAttributes {
			return fmt.Errorf("more than %d attributes in one record", maxAttributes)
		}
	case f.commas >= maxElements:
		return fmt.Errorf("more than %d elements in one set", maxElements)
	case f.lists && f.commas >= maxNestedElements:
		return fmt.Errorf("a set that holds sets has more than %d elements", maxNestedElements)
	}
	return nil
}
