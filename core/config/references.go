package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// References resolve ${env:NAME}, ${env:NAME:-default}, ${file:path} and ${secret:key}; ${NAME} is short for ${env:NAME}, and $${ is a plain ${.
// A nil function refuses its kind.
type References struct {
	Env    func(name string) (value string, ok bool)
	File   func(path string) ([]byte, error)
	Secret func(key string) (string, error)
}

// maxReferenceBytes is the most a file or secret may hold that is referred to.
const maxReferenceBytes = 1 << 20

// SystemReferences reads the process environment, files relative to dir, and secrets from files below secretsDir or, when there is no such
// file, from the variable MILLDAM_SECRET_<KEY> (upper case, every other character an underscore).
func SystemReferences(dir, secretsDir string) References {
	return References{
		Env: os.LookupEnv,
		File: func(path string) ([]byte, error) {
			if !filepath.IsAbs(path) {
				path = filepath.Join(dir, path)
			}
			return readLimited(path)
		},
		Secret: func(key string) (string, error) { return systemSecret(secretsDir, key) },
	}
}

// Environment returns the variable name of the process, for the few settings that have no file.
func Environment(name string) string { return os.Getenv(name) }

var notInVariable = regexp.MustCompile(`[^A-Z0-9]`)

func systemSecret(dir, key string) (string, error) {
	if !filepath.IsLocal(key) {
		return "", fmt.Errorf("secret %q is not a relative path", key)
	}
	variable := "MILLDAM_SECRET_" + notInVariable.ReplaceAllString(strings.ToUpper(key), "_")
	if dir != "" {
		text, err := readLimited(filepath.Join(dir, key))
		if err == nil {
			return strings.TrimRight(string(text), "\r\n"), nil
		}
		if !os.IsNotExist(err) {
			return "", err
		}
	}
	if value, ok := os.LookupEnv(variable); ok {
		return value, nil
	}
	if dir == "" {
		return "", fmt.Errorf("secret %q is not set; set %s", key, variable)
	}
	return "", fmt.Errorf("secret %q is not set; write it to %s or set %s", key, filepath.Join(dir, key), variable)
}

func readLimited(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxReferenceBytes {
		return nil, fmt.Errorf("%s has %d bytes, more than the limit of %d", path, info.Size(), maxReferenceBytes)
	}
	return os.ReadFile(path)
}

// unresolved is a reference that could not be resolved, with where it stands in the scalar.
type unresolved struct {
	text    string
	offset  int // in bytes
	message string
	hint    string
}

func (u *unresolved) Error() string { return u.text + ": " + u.message }

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// resolve replaces the references of text, and says where the value is from: "file" when it has none.
func (r References) resolve(text string) (value, from string, err error) {
	from = "file"
	var b strings.Builder
	rest := text
	for {
		i := strings.Index(rest, "${")
		if i < 0 {
			b.WriteString(rest)
			return b.String(), from, nil
		}
		offset := len(text) - len(rest) + i
		end := strings.IndexByte(rest[i:], '}')
		switch {
		case i > 0 && rest[i-1] == '$':
			b.WriteString(rest[:i-1] + "${")
			rest = rest[i+2:]
			continue
		case strings.HasPrefix(rest[i:], "${{"): // an expression
			b.WriteString(rest[:i+3])
			rest = rest[i+3:]
			continue
		case end < 0:
			return "", "", &unresolved{rest[i:], offset, "the reference has no end", "close it with }, or write $${ for a plain ${"}
		}
		b.WriteString(rest[:i])
		reference := rest[i+2 : i+end]
		part, u := r.one(reference)
		if u != nil {
			u.text, u.offset = rest[i:i+end+1], offset
			return "", "", u
		}
		b.WriteString(part)
		from = reference
		rest = rest[i+end+1:]
	}
}

func (r References) one(reference string) (string, *unresolved) {
	kind, name, found := strings.Cut(reference, ":")
	if !found && variableName.MatchString(reference) {
		kind, name = "env", reference
	}
	switch kind {
	case "env":
		return r.env(name)
	case "file":
		if r.File == nil {
			return "", &unresolved{message: "files may not be referred to here"}
		}
		text, err := r.File(name)
		if err != nil {
			return "", &unresolved{message: err.Error()}
		}
		return strings.TrimRight(string(text), "\r\n"), nil
	case "secret":
		if r.Secret == nil {
			return "", &unresolved{message: "secrets may not be referred to here"}
		}
		value, err := r.Secret(name)
		if err != nil {
			return "", &unresolved{message: err.Error()}
		}
		return value, nil
	}
	return "", &unresolved{message: "unknown kind of reference" + DidYouMean(kind, []string{"env", "file", "secret"}),
		hint: "${env:NAME}, ${env:NAME:-default}, ${file:path} or ${secret:key}; an expression is ${{ ... }}"}
}

func (r References) env(name string) (string, *unresolved) {
	name, fallback, has := strings.Cut(name, ":-")
	if r.Env == nil {
		return "", &unresolved{message: "environment variables may not be referred to here"}
	}
	if value, ok := r.Env(name); ok && (value != "" || !has) {
		return value, nil
	}
	if has {
		return fallback, nil
	}
	return "", &unresolved{message: fmt.Sprintf("the environment variable %s is not set", name),
		hint: fmt.Sprintf("set it, or give a default: ${env:%s:-default}", name)}
}

func (n Node) referenceError(err error) *Error {
	u, ok := err.(*unresolved)
	if !ok {
		return n.Errorf("%v", err)
	}
	e := n.At(len([]rune(n.yaml.Value[:u.offset])), len([]rune(u.text)), "%s: %s", u.text, u.message)
	e.Hint = u.hint
	return e
}
