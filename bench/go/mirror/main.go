// Verifies a report with go-sev-guest, which fetches chain, certificate and revocation list from a mirror of AMD's KDS.
//
// Its arguments are the mirror's URL and the report's file. The roots are those that the mirror hands out, so that it
// shows what the paths and answers are worth, and nothing else.
package main

import (
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/trust"
)

const (
	kds         = "https://kdsintf.amd.com"
	productLine = "Milan"
)

// What the fake chips' certificates are valid at.
var at = time.Date(2026, time.June, 1, 0, 0, 0, 0, time.UTC)

// mirror is the address that is asked in the place of AMD's.
type mirror string

func (m mirror) Get(url string) ([]byte, error) {
	fmt.Println(strings.TrimPrefix(url, kds))
	answer, err := http.Get(strings.Replace(url, kds, string(m), 1))
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, answer.Status)
	}
	return io.ReadAll(answer.Body)
}

func main() {
	getter := mirror(os.Args[1])
	raw, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	chain, err := getter.Get(kds + "/vcek/v1/" + productLine + "/cert_chain")
	if err != nil {
		log.Fatal(err)
	}
	roots := trust.AMDRootCertsProduct(productLine)
	if err := roots.FromKDSCertBytes(chain); err != nil {
		log.Fatal(err)
	}
	err = verify.RawSnpReport(raw, &verify.Options{
		Getter:       getter,
		Now:          at,
		TrustedRoots: map[string][]*trust.AMDRootCerts{productLine: {roots}},
	})
	if err != nil {
		log.Fatal(err)
	}
	// go-sev-guest finds the list by the root's distribution point, which the fake chips' roots have not got.
	list, err := getter.Get(kds + "/vcek/v1/" + productLine + "/crl")
	if err != nil {
		log.Fatal(err)
	}
	parsed, err := x509.ParseRevocationList(list)
	if err != nil {
		log.Fatal(err)
	}
	if err := parsed.CheckSignatureFrom(roots.ProductCerts.Ark); err != nil {
		log.Fatal(err)
	}
}
