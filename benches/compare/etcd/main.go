// Command etcd is etcd itself, built from its pinned module, for the comparison in the folder above.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
