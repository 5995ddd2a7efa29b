package milldam

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/milldam/milldam/core/meta"
)

// TestAConfigKeyThatIsReadSaysWhatItDoes finds Kafka's config keys in the code that acts on them: DescribeConfigs and the reference must not say of any of them that
// it has no effect.
func TestAConfigKeyThatIsReadSaysWhatItDoes(t *testing.T) {
	notRead := map[string]bool{
		"unclean.leader.election.enable": true, // set on internal topics, as Kafka does
		"log.dir":                        true, // these are refused in the configuration file
		"node.id":                        true,
		"broker.id":                      true,
	}
	read := 0
	for _, dir := range []string{"core/replica", "core/broker", "runtime/node"} {
		for _, file := range goFiles(t, dir) {
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				lit, ok := n.(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					return true
				}
				key, err := strconv.Unquote(lit.Value)
				if err != nil || !meta.IsConfigKey(key) || notRead[key] {
					return true
				}
				read++
				if meta.ConfigDocumentation(key) == meta.NoEffect {
					t.Errorf("%s reads %s, which is documented to have no effect", file, key)
				}
				return true
			})
		}
	}
	if read < 50 {
		t.Errorf("only %d keys found", read)
	}
}

func goFiles(t *testing.T, dir string) (code []string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		if !strings.HasSuffix(file, "_test.go") {
			code = append(code, file)
		}
	}
	return code
}
