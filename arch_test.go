package milldam

import (
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/milldam/milldam/"

// tower says which side of the wire a package belongs to. The two sides meet only at the Kafka protocol.
type tower int

const (
	shared tower = iota
	brokerSide
	appSide
	testOnly
)

// place is where a package stands: it imports only lower rows, never its own.
type place struct {
	row   int
	tower tower
}

// places is the table of docs/design/architecture.md. A pattern that ends in /* stands for every package below it.
var places = []struct {
	pattern string
	place
}{
	{"core/record", place{0, shared}},
	{"core/vfs", place{0, shared}},
	{"core/invariant", place{0, shared}},
	{"core/config", place{0, shared}},
	{"core/storage", place{1, brokerSide}},
	{"core/meta", place{1, brokerSide}},
	{"core/wire", place{1, shared}},
	{"core/replica", place{2, brokerSide}},
	{"core/client", place{2, appSide}},
	{"connect", place{2, appSide}},
	{"core/coordinator", place{3, brokerSide}},
	{"streams/state", place{3, appSide}},
	{"connect/format", place{3, appSide}},
	{"connect/expression", place{3, appSide}},
	{"core/broker", place{4, brokerSide}},
	{"streams", place{4, appSide}},
	{"connect/worker", place{4, appSide}},
	{"connectors", place{5, appSide}},
	{"pipelines", place{5, appSide}},
	{"runtime/admin", place{5, appSide}},
	{"runtime/s3dir", place{5, appSide}},
	{"runtime/node", place{6, shared}},
	{"core/netsim", place{0, testOnly}},
	{"core/vfs/vfstest", place{0, testOnly}},
	{"streams/streamtest", place{5, testOnly}},
	{"connect/connecttest", place{5, testOnly}},
	{"connectors/*", place{4, appSide}},
	{"examples/*", place{6, shared}},
	{"cmd/*", place{7, shared}},
}

func placeOf(pkg string) (place, bool) {
	for _, p := range places {
		prefix, wild := strings.CutSuffix(p.pattern, "*")
		if p.pattern == pkg || wild && strings.HasPrefix(pkg, prefix) {
			return p.place, true
		}
	}
	return place{}, false
}

// sourcePackages maps the path of every package of the module, relative to its root, to its non-test build.
func sourcePackages(t *testing.T) map[string]*build.Package {
	t.Helper()
	pkgs := map[string]*build.Package{}
	err := filepath.WalkDir(".", func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || dir == "." {
			return err
		}
		if strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "docs" || d.Name() == "bin" {
			return fs.SkipDir
		}
		p, err := build.ImportDir(dir, build.ImportComment)
		if _, empty := err.(*build.NoGoError); empty {
			return nil
		}
		if err != nil {
			return err
		}
		pkgs[filepath.ToSlash(dir)] = p
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return pkgs
}

func TestPackagesImportOnlyLowerRows(t *testing.T) {
	for pkg, p := range sourcePackages(t) {
		from, known := placeOf(pkg)
		if !known {
			t.Errorf("%s has no row: add it to the table here and in docs/design/architecture.md", pkg)
			continue
		}
		for _, imp := range p.Imports {
			target, ours := strings.CutPrefix(imp, module)
			if !ours {
				continue
			}
			to, known := placeOf(target)
			switch {
			case !known:
				t.Errorf("%s imports %s, which has no row", pkg, target)
			case to.tower == testOnly && from.tower != testOnly:
				t.Errorf("%s imports %s, which is for tests only", pkg, target)
			case to.row >= from.row:
				t.Errorf("%s (row %d) imports %s (row %d)", pkg, from.row, target, to.row)
			case from.tower == appSide && to.tower == brokerSide:
				t.Errorf("%s imports %s: the application side reaches the broker only through the Kafka protocol", pkg, target)
			case from.tower == brokerSide && to.tower == appSide:
				t.Errorf("%s imports %s: the broker side knows nothing of the application side", pkg, target)
			}
		}
	}
}

// cloudSDKs may be linked only by the connectors that speak to their services.
var cloudSDKs = []string{"github.com/aws/", "github.com/olivere/elastic"}

// connectorImports is all of the module that a connector may see.
var connectorImports = []string{"connect", "connect/format", "connect/expression", "core/config", "core/vfs"}

func TestBannedImports(t *testing.T) {
	for pkg, p := range sourcePackages(t) {
		for _, imp := range p.Imports {
			if imp == "github.com/apache/arrow-go" || strings.HasPrefix(imp, "github.com/apache/arrow-go/v18") {
				t.Errorf("%s imports %s: it cannot be linked beside arrow v17", pkg, imp)
			}
			isSDK := slices.ContainsFunc(cloudSDKs, func(s string) bool { return strings.HasPrefix(imp, s) })
			if isSDK && !strings.HasPrefix(pkg, "connectors/") && !strings.HasPrefix(pkg, "core/tier/") {
				t.Errorf("%s imports %s: cloud SDKs stay in connectors/* and core/tier/*", pkg, imp)
			}
			if target, ours := strings.CutPrefix(imp, module); ours && strings.HasPrefix(pkg, "connectors/") &&
				!slices.Contains(connectorImports, target) {
				t.Errorf("%s imports %s: a connector sees only %v", pkg, target, connectorImports)
			}
		}
	}
}

// docLines is the most lines a doc.go may have: longer prose belongs in docs/.
const docLines = 80

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for pkg, p := range sourcePackages(t) {
		if p.Name == "main" {
			continue
		}
		if !slices.Contains(p.GoFiles, "doc.go") {
			t.Errorf("%s has no doc.go", pkg)
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path.Join(pkg, "doc.go"), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if f.Doc == nil || !strings.HasPrefix(f.Doc.Text(), "Package "+p.Name+" ") {
			t.Errorf("%s/doc.go does not start with \"Package %s \"", pkg, p.Name)
		}
		if n := fset.Position(f.End()).Line; n > docLines {
			t.Errorf("%s/doc.go has %d lines, more than %d", pkg, n, docLines)
		}
	}
}
