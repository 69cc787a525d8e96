package access

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/chancery/chancery/chain/errs"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

func document(text string) []*accessv1.Document {
	return []*accessv1.Document{{Name: "main", Text: text}}
}

func when(expression string) string {
	return "permit (principal, action, resource) when { " + expression + " };"
}

// What is too large, too deep or too slow is refused with a clear error before a
// parser meets it. The bound on time is generous; the parser alone would need
// minutes, or kill the process.
func TestLimitsOfPolicies(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want *errs.Error
	}{
		"a policy of 10 MB":            {when(`"` + strings.Repeat("a", 10<<20) + `" == ""`), ErrTooLarge},
		"4 MB of parentheses":          {when(strings.Repeat("(", 4<<20)), ErrTooLarge},
		"60 KB of parentheses":         {when(strings.Repeat("(", 60<<10)), ErrTooDeep},
		"200 parentheses":              {when(strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200)), ErrTooDeep},
		"200 brackets":                 {when(strings.Repeat("[", 200) + "true" + strings.Repeat("]", 200) + " == []"), ErrTooDeep},
		"200 braces":                   {when(strings.Repeat("{a:", 200) + "true" + strings.Repeat("}", 200) + " == {}"), ErrTooDeep},
		"200 if":                       {when(strings.Repeat("if true then true else ", 200) + "true"), ErrTooDeep},
		"200 if in conditions":         {when(strings.Repeat("if ", 200) + "true" + strings.Repeat(" then true else true", 200)), ErrTooDeep},
		"200 !":                        {when(strings.Repeat("!", 200) + "true"), ErrTooDeep},
		"200 -":                        {when(strings.Repeat("-", 200) + "1 == 1"), ErrTooDeep},
		"200 members":                  {when("context" + strings.Repeat(".a", 200) + " == 1"), ErrTooDeep},
		"200 index members":            {when("context" + strings.Repeat(`["a"]`, 200) + " == 1"), ErrTooDeep},
		"! and ( mixed":                {when(strings.Repeat("!(", 150) + "true" + strings.Repeat(")", 150)), ErrTooDeep},
		"has with 33 names":            {when("context has a" + strings.Repeat(".a", 33)), ErrTooDeep},
		"3000 operators":               {when("1" + strings.Repeat(" + 1", 3000) + " == 1"), ErrTooLarge},
		"513 elements":                 {when("[" + strings.Repeat("1,", 512) + "1].contains(1)"), ErrTooLarge},
		"65 sets in a set":             {when("[" + strings.Repeat("[1],", 64) + "[1]].contains(1)"), ErrTooLarge},
		"a string of 5 KB":             {when(`context.a like "` + strings.Repeat("*a", 2500) + `"`), ErrTooLarge},
		"5000 nodes":                   {when("(" + strings.Repeat("1 == 1 && ", 1000) + "true) && (" + strings.Repeat("1 == 1 && ", 1000) + "true)"), ErrTooLarge},
		"too many policies":            {strings.Repeat("permit(principal,action,resource);", maxPolicies+1), ErrTooLarge},
		"no UTF-8":                     {when("\"\xff\" == \"\""), ErrSyntax},
		"NUL":                          {when("\x00"), ErrSyntax},
		"a string that does not end":   {when(`"abc`), ErrSyntax},
		"a comment that does not end":  {when(`/* abc`), ErrSyntax},
		"no policy":                    {"hello", ErrSyntax},
		"a template":                   {"permit (principal == ?principal, action, resource);", ErrSyntax},
		"a policy with a bad id":       {`@id("a b") permit (principal, action, resource);`, ErrField},
		"two policies with one id":     {`@id("a") permit (principal, action, resource); @id("a") permit (principal, action, resource);`, ErrDuplicatePolicies},
		"depth hidden behind strings":  {when(`")))))" == "" && ` + strings.Repeat("(", 199) + `true` + strings.Repeat(")", 199)), ErrTooDeep},
		"depth hidden behind comments": {when("// ))))\n" + strings.Repeat("(/*)*/", 199) + `true` + strings.Repeat(")", 199)), ErrTooDeep},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := newCaches().parseDocuments(document(c.text))
			wantErr(t, err, c.want)
			if d := time.Since(start); d > 2*time.Second {
				t.Fatalf("it took %v", d)
			}
		})
	}
}

// What is within the bounds enters.
func TestWithinLimits(t *testing.T) {
	for name, text := range map[string]string{
		"150 parentheses":           when(strings.Repeat("(", 150) + "true" + strings.Repeat(")", 150)),
		"brackets in strings":       when(`"` + strings.Repeat("(", 1000) + `" == ""`),
		"brackets in comments":      "// " + strings.Repeat("(", 1000) + "\n/* " + strings.Repeat("{", 1000) + " */" + when("true"),
		"many conditions":           "permit (principal, action, resource)" + strings.Repeat(" when { context.a.b.c has d } unless { (true) }", 200) + ";",
		"many short chains":         when("true" + strings.Repeat(" && context.a.b == 1", 300)),
		"many ifs side by side":     when("true" + strings.Repeat(" && (if true then true else true)", 300)),
		"many - side by side":       when("1" + strings.Repeat(" - 1", 1000) + " == -1"),
		"512 elements":              when("[" + strings.Repeat("1,", 511) + "1].contains(1)"),
		"escapes in strings":        when(`"\"((((" == "\\"`),
		"annotations and operators": `@id("x") @advice("(((") permit (principal is User in Group::"a", action in [Action::"a", Action::"b"], resource) unless { context.a != 1 || context.b >= 2 };`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := newCaches().parseDocuments(document(text)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestLimitsOfSets(t *testing.T) {
	c := newCaches()
	var many []*accessv1.Document
	for i := range 17 {
		many = append(many, &accessv1.Document{Name: fmt.Sprint("d", i), Text: ""})
	}
	_, err := c.parseDocuments(many)
	wantErr(t, err, ErrTooLarge)
	big := "// " + strings.Repeat("a", 63<<10)
	many = nil
	for i := range maxDocuments {
		many = append(many, &accessv1.Document{Name: fmt.Sprint("d", i), Text: big})
	}
	_, err = c.parseDocuments(many)
	wantErr(t, err, ErrTooLarge)
	_, err = c.parseDocuments([]*accessv1.Document{{Name: "a"}, {Name: "a"}})
	wantErr(t, err, ErrDuplicatePolicies)
	_, err = c.parseDocuments([]*accessv1.Document{{Name: "A b"}})
	wantErr(t, err, ErrField)
	_, err = c.parseDocuments([]*accessv1.Document{nil})
	wantErr(t, err, ErrField)
	many = nil
	for i := range maxDocuments {
		var text strings.Builder
		for p := range 3 {
			text.WriteString(when("true"+strings.Repeat(fmt.Sprintf(" && context.a%d == %d", i, p), 800)) + "\n")
		}
		many = append(many, &accessv1.Document{Name: fmt.Sprint("d", i), Text: text.String()})
	}
	_, err = c.parseDocuments(many)
	wantErr(t, err, ErrTooLarge)
}

func TestLimitsOfSchemas(t *testing.T) {
	doubling := "type T0 = {a: Long};\n"
	for i := 1; i <= 40; i++ {
		doubling += fmt.Sprintf("type T%d = {a: T%d, b: T%d};\n", i, i-1, i-1)
	}
	inNamespace := "namespace N {\n" + strings.ReplaceAll(doubling, "type T0", "type T0") + "}"
	var combinations strings.Builder
	var all []string
	for i := range 300 {
		fmt.Fprintf(&combinations, "entity E%d;\n", i)
		all = append(all, fmt.Sprintf("E%d", i))
	}
	for i := range 60 {
		fmt.Fprintf(&combinations, "action A%d appliesTo {principal: [%s], resource: [%s]};\n", i, strings.Join(all, ","), strings.Join(all, ","))
	}
	for name, c := range map[string]struct {
		schema *accessv1.SchemaText
		want   *errs.Error
	}{
		"too long":              {cedarText("// " + strings.Repeat("a", 70<<10)), ErrTooLarge},
		"types that double":     {cedarText(doubling + "entity E {a: T40};"), ErrTooLarge},
		"doubling in namespace": {cedarText(inNamespace), ErrTooLarge},
		"many combinations":     {cedarText(combinations.String()), ErrTooLarge},
		"deep types":            {cedarText("type T = " + strings.Repeat("Set<", 250) + "Long" + strings.Repeat(">", 250) + ";"), ErrTooDeep},
		"deep JSON":             {&accessv1.SchemaText{Format: accessv1.SchemaFormat_SCHEMA_FORMAT_JSON, Text: strings.Repeat("[", 100)}, ErrTooDeep},
		"a cycle":               {cedarText("type A = {a: B}; type B = {a: A};"), ErrSchema},
		"an unknown type":       {cedarText("entity E {a: Nothing};"), ErrSchema},
		"no schema":             {cedarText("hello"), ErrSchema},
		"no JSON":               {&accessv1.SchemaText{Format: accessv1.SchemaFormat_SCHEMA_FORMAT_JSON, Text: "hello"}, ErrSchema},
		"no format":             {&accessv1.SchemaText{Text: "entity E;"}, ErrField},
		"purpose of other type": {cedarText("entity E; action a appliesTo {principal: E, resource: E, context: {purpose: Long}};"), ErrSchema},
		"consent of other type": {cedarText("entity E; action a appliesTo {principal: E, resource: E, context: {consent: {status: String}}};"), ErrSchema},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := newCaches().parseSchema(c.schema)
			wantErr(t, err, c.want)
			if d := time.Since(start); d > 2*time.Second {
				t.Fatalf("it took %v", d)
			}
		})
	}
}

func cedarText(text string) *accessv1.SchemaText {
	return &accessv1.SchemaText{Format: accessv1.SchemaFormat_SCHEMA_FORMAT_CEDAR, Text: text}
}

// Validation whose work would grow with the product of policies and schema is
// refused before it is begun.
func TestLimitsOfValidation(t *testing.T) {
	var schema strings.Builder
	var all []string
	for i := range 40 {
		fmt.Fprintf(&schema, "entity E%d {a?: Long};\n", i)
		all = append(all, fmt.Sprintf("E%d", i))
	}
	fmt.Fprintf(&schema, "action a appliesTo {principal: [%s], resource: [%s]};\n", strings.Join(all, ","), strings.Join(all, ","))
	c := newCaches()
	s, err := c.parseSchema(cedarText(schema.String()))
	if err != nil {
		t.Fatal(err)
	}
	set, err := c.parseDocuments(document(when("true" + strings.Repeat(" && principal has a", 500))))
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, s.validate(set), ErrTooLarge)
}

func TestLimitsOfEntities(t *testing.T) {
	entity := func(attrs string) string {
		return `[{"uid":{"type":"R","id":"1"},"attrs":{` + attrs + `},"parents":[]}]`
	}
	for name, c := range map[string]struct {
		text string
		want *errs.Error
	}{
		"70 KB":                {entity(`"a":"` + strings.Repeat("a", 70<<10) + `"`), ErrTooLarge},
		"17 KB in one":         {entity(`"a":"` + strings.Repeat("a", 4000) + `","b":"` + strings.Repeat("a", 4000) + `","c":"` + strings.Repeat("a", 4000) + `","d":"` + strings.Repeat("a", 4000) + `","e":"` + strings.Repeat("a", 4000) + `"`), ErrTooLarge},
		"a string of 5 KB":     {entity(`"a":"` + strings.Repeat("a", 5000) + `"`), ErrTooLarge},
		"depth":                {entity(`"a":` + strings.Repeat("[", 70) + strings.Repeat("]", 70)), ErrTooDeep},
		"half a million deep":  {strings.Repeat("[", 60<<10), ErrTooDeep},
		"513 elements":         {entity(`"a":[` + strings.Repeat("1,", 512) + `1]`), ErrTooLarge},
		"65 sets":              {entity(`"a":[` + strings.Repeat("[1],", 64) + `[1]]`), ErrTooLarge},
		"65 records with sets": {entity(`"a":[` + strings.Repeat(`{"a":[1]},`, 64) + `{"a":[1]}]`), ErrTooLarge},
		"257 attributes":       {entity(attributes(257)), ErrTooLarge},
		"a float":              {entity(`"a":1.5`), ErrNumber},
		"an exponent":          {entity(`"a":1e3`), ErrNumber},
		"a whole float":        {entity(`"a":1.0`), ErrNumber},
		"too large a number":   {entity(`"a":9223372036854775808`), ErrEntities},
		"null":                 {entity(`"a":null`), ErrEntities},
		"two of one":           {`[{"uid":{"type":"R","id":"1"},"attrs":{},"parents":[]},{"uid":{"type":"R","id":"1"},"attrs":{},"parents":[]}]`, ErrEntities},
		"one key twice":        {entity(`"a":1,"a":2`), ErrEntities},
		"no uid":               {`[{"attrs":{},"parents":[]}]`, ErrEntities},
		"an object":            {`{}`, ErrEntities},
		"a bad type":           {`[{"uid":{"type":"R R","id":"1"},"attrs":{},"parents":[]}]`, ErrEntities},
		"a long id":            {`[{"uid":{"type":"R","id":"` + strings.Repeat("a", 257) + `"},"attrs":{},"parents":[]}]`, ErrField},
		"a reserved key":       {entity(`"__entity":1`), ErrEntities},
		"no JSON":              {"hello", ErrEntities},
		"no UTF-8":             {entity("\"a\":\"\xff\""), ErrEntities},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := parseEntities(c.text, maxEntitiesPerMessage, nil)
			wantErr(t, err, c.want)
			if d := time.Since(start); d > time.Second {
				t.Fatalf("it took %v", d)
			}
		})
	}
	if list, err := parseEntities(entity(attributes(256)), maxEntitiesPerMessage, nil); err != nil || len(list) != 1 {
		t.Fatal(err)
	}
	var many []string
	for i := range 257 {
		many = append(many, fmt.Sprintf(`{"uid":{"type":"R","id":"%d"},"attrs":{},"parents":[]}`, i))
	}
	_, err := parseEntities("["+strings.Join(many, ",")+"]", maxEntitiesPerMessage, nil)
	wantErr(t, err, ErrTooLarge)
	var parents []string
	for i := range 65 {
		parents = append(parents, fmt.Sprintf(`{"type":"R","id":"%d"}`, i))
	}
	_, err = parseEntities(`[{"uid":{"type":"R","id":"x"},"attrs":{},"parents":[`+strings.Join(parents, ",")+`]}]`, maxEntitiesPerMessage, nil)
	wantErr(t, err, ErrTooLarge)
}

func attributes(n int) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf(`"a%d":%d`, i, i))
	}
	return strings.Join(out, ",")
}

func TestLimitsOfContext(t *testing.T) {
	for text, want := range map[string]*errs.Error{
		`{"a":1.5}`:                                 ErrNumber,
		`{"a":` + strings.Repeat("[", 70) + `}`:     ErrTooDeep,
		`{"a":"` + strings.Repeat("a", 9000) + `"}`: ErrTooLarge,
		`[1]`: ErrEntities,
		`{"a":{"__extn":{"fn":"decimal","arg":"x"}}}`: ErrEntities,
		`{"a":{"__extn":{"fn":"nothing","arg":"x"}}}`: ErrEntities,
	} {
		_, err := parseContext(text)
		wantErr(t, err, want)
	}
	for _, key := range systemKeys {
		r, err := parseContext(`{"` + key.name + `":1}`)
		if err != nil {
			t.Fatal(err)
		}
		wantErr(t, refuseSystemKeys(r), ErrReservedKey)
	}
	if r, err := parseContext(`{"a":{"__extn":{"fn":"decimal","arg":"1.5"}},"b":[true,"x",1]}`); err != nil || r.Len() != 2 {
		t.Fatal(err)
	}
}

// A set of values that collide, patterns and wide graphs cost more steps than
// small ones, and beyond the bound there is no evaluation.
func TestWorkIsBounded(t *testing.T) {
	c := newCaches()
	var elements []string
	for i := range 512 {
		elements = append(elements, fmt.Sprint(i))
	}
	big := `[{"uid":{"type":"R","id":"1"},"attrs":{"a":[` + strings.Join(elements, ",") + `]},"parents":[]}]`
	list, err := parseEntities(big, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(text string) (*answer, error) {
		set, err := c.parseDocuments(document(text))
		if err != nil {
			t.Fatal(err)
		}
		charged := uint64(0)
		a, err := judge(&question{
			request:  types.Request{Principal: types.NewEntityUID("U", "u"), Action: types.NewEntityUID("Action", "a"), Resource: types.NewEntityUID("R", "1")},
			policies: set, guardRails: emptySet,
			source: func(uid types.EntityUID) (*entity, uint64, bool) { return list[0], 1, uid == list[0].cedar.UID },
			charge: func(n uint64) { charged += n },
		})
		if err == nil && charged != a.steps {
			t.Fatalf("%d steps charged, %d taken", charged, a.steps)
		}
		return a, err
	}
	one, err := ask(when("resource.a.contains(1)"))
	if err != nil {
		t.Fatal(err)
	}
	ten, err := ask(when("true" + strings.Repeat(" && resource.a.contains(1)", 10)))
	if err != nil || ten.steps < 8*one.steps {
		t.Fatalf("ten comparisons cost %v, one costs %v (%v)", ten, one.steps, err)
	}
	_, err = ask(when("true" + strings.Repeat(" && resource.a.containsAll(resource.a)", 200)))
	wantErr(t, err, ErrTooMuchWork)
	if !one.allowed || one.steps > 10_000 {
		t.Fatalf("one comparison: %+v", one)
	}
}

// An evaluation that could reach too many entities is refused.
func TestSliceIsBounded(t *testing.T) {
	c := newCaches()
	set, err := c.parseDocuments(document("permit (principal, action, resource in R::\"0\");"))
	if err != nil {
		t.Fatal(err)
	}
	source := func(uid types.EntityUID) (*entity, uint64, bool) {
		var n int
		if _, err := fmt.Sscan(string(uid.ID), &n); err != nil {
			return nil, 0, false
		}
		next := types.NewEntityUID("R", types.String(fmt.Sprint(n+1)))
		return newEntity(types.Entity{UID: uid, Parents: types.NewEntityUIDSet(next)}, "", []types.EntityUID{next}), 1, true
	}
	_, err = judge(&question{
		request:  types.Request{Principal: types.NewEntityUID("U", "u"), Action: types.NewEntityUID("Action", "a"), Resource: types.NewEntityUID("R", "1")},
		policies: set, guardRails: emptySet, source: source, charge: func(uint64) {},
	})
	wantErr(t, err, ErrSlice)
}
