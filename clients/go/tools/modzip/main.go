// Program modzip makes a module as Go's proxy would serve it: its zip, with the proxy's checks, and what lies beside it.
//
//	modzip FOLDER VERSION PROXY
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: modzip FOLDER VERSION PROXY")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "modzip:", err)
		os.Exit(1)
	}
}

// run writes the module in folder to a proxy's folder.
func run(folder, version, proxy string) error {
	mod, err := os.ReadFile(filepath.Join(folder, "go.mod"))
	if err != nil {
		return err
	}
	named := module.Version{Path: modfile.ModulePath(mod), Version: version}
	if err := module.Check(named.Path, named.Version); err != nil {
		return err
	}
	escaped, err := module.EscapePath(named.Path)
	if err != nil {
		return err
	}
	served := filepath.Join(proxy, escaped, "@v")
	if err := os.MkdirAll(served, 0o755); err != nil {
		return err
	}
	packed, err := os.Create(filepath.Join(served, version+".zip"))
	if err != nil {
		return err
	}
	defer packed.Close()
	if err := zip.CreateFromDir(packed, named, folder); err != nil {
		return err
	}
	checked, err := zip.CheckZip(named, packed.Name())
	if err != nil {
		return err
	}
	if err := checked.Err(); err != nil {
		return err
	}
	info, err := json.Marshal(map[string]any{"Version": version, "Time": time.Now().UTC()})
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{"list": []byte(version + "\n"), version + ".info": info, version + ".mod": mod} {
		if err := os.WriteFile(filepath.Join(served, name), text, 0o644); err != nil {
			return err
		}
	}
	fmt.Printf("%s@%s has %d files\n", named.Path, version, len(checked.Valid))
	for _, license := range []string{"LICENSE-APACHE", "LICENSE-MIT"} {
		if _, err := os.Stat(filepath.Join(folder, license)); err != nil {
			return fmt.Errorf("without a license in it nobody may use the module: %w", err)
		}
	}
	return packed.Close()
}
