package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/milldam/milldam/connect"
	"github.com/milldam/milldam/connectors"
	"github.com/milldam/milldam/core/config"
	"github.com/milldam/milldam/pipelines"
)

func (a *app) pipelineCommand() *cobra.Command {
	c := &cobra.Command{Use: "pipeline", Short: "Check, test, run and watch pipelines"}
	return family(c, a.pipelineLint(), a.pipelineTest(), a.pipelineRun(), a.pipelineStatus("list", "List the pipelines of a running node"),
		a.pipelineStatus("status", "Show how the pipelines of a running node fare"))
}

func registry() (*connect.Registry, error) { return connect.NewRegistry(connectors.All()...) }

// loadPipelines reads and checks files and folders of YAML.
func loadPipelines(paths []string) ([]*pipelines.Spec, config.Errors, error) {
	var files []pipelines.File
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, nil, codedf(exitNotFound, "%w", err)
		}
		dir, prefix := path, path
		if !info.IsDir() {
			text, err := os.ReadFile(path)
			if err != nil {
				return nil, nil, err
			}
			files = append(files, pipelines.File{Name: path, Text: text})
			continue
		}
		found, err := pipelines.ReadFiles(os.DirFS(dir), prefix)
		if err != nil {
			return nil, nil, err
		}
		files = append(files, found...)
	}
	r, err := registry()
	if err != nil {
		return nil, nil, err
	}
	specs, errs := pipelines.Load(files, r, config.Options{References: config.SystemReferences(".", "")})
	return specs, errs, nil
}

// checked loads pipelines and prints everything that is wrong with them.
func (a *app) checked(paths []string) ([]*pipelines.Spec, error) {
	specs, errs, err := loadPipelines(paths)
	if err != nil {
		return nil, err
	}
	if len(errs) == 0 {
		return specs, nil
	}
	if a.output == "json" || a.output == "yaml" {
		if err := a.encode(map[string]any{"apiVersion": "v1", "errors": errs}); err != nil {
			return nil, err
		}
		return nil, errSilent
	}
	fmt.Fprint(a.out, errs.Render())
	return nil, errSilent
}

func (a *app) pipelineLint() *cobra.Command {
	return &cobra.Command{Use: "lint FILE...", Short: "Check pipelines without connecting to anything", Args: usage(cobra.MinimumNArgs(1)), RunE: func(_ *cobra.Command, args []string) error {
		specs, err := a.checked(args)
		if err != nil {
			return err
		}
		if a.output == "table" {
			a.say("%s, no errors. Connections not tried.", counted(int64(len(specs)), "pipeline"))
			return nil
		}
		return a.encode(map[string]any{"apiVersion": "v1", "errors": []string{}})
	}}
}

func (a *app) pipelineTest() *cobra.Command {
	return &cobra.Command{Use: "test FILE...", Short: "Run the tests of pipelines", Args: usage(cobra.MinimumNArgs(1)), RunE: func(_ *cobra.Command, args []string) error {
		specs, err := a.checked(args)
		if err != nil {
			return err
		}
		var all []pipelines.TestResult
		failed := 0
		for _, s := range specs {
			for _, r := range pipelines.RunTests(s) {
				all = append(all, r)
				if !r.Passed {
					failed++
				}
			}
		}
		if a.output != "table" {
			if err := a.encode(map[string]any{"apiVersion": "v1", "tests": all, "failed": failed}); err != nil {
				return err
			}
		} else {
			for _, r := range all {
				fmt.Fprintln(a.out, testLine(r))
			}
			a.say("%s, %d failed", counted(int64(len(all)), "test"), failed)
		}
		if failed > 0 {
			return errSilent
		}
		return nil
	}}
}

// testLine is a test's outcome for people.
func testLine(r pipelines.TestResult) string {
	if r.Passed {
		return "ok    " + r.Pipeline + ": " + r.Name
	}
	return "FAIL  " + r.Pipeline + ": " + r.Name + " (" + r.Position.String() + ")\n" + r.Detail
}
