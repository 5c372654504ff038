// Runs project Veraison's own client against a verifier, with evidence that whoever started this program makes.
//
// Its arguments are the address of newSession, how the evidence is wrapped (none, json or cbor), and either `size` and
// the size of the verifier's nonce, or `nonce` and one of the caller's own in hex. For the nonce that the client took out of the session it writes a line {"nonce", "accept"}, reads
// a line {"type", "value"}, and at the end writes the result as the client returned it. The session is deleted.
package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"

	"github.com/veraison/apiclient/verification"
)

var wraps = map[string]verification.CmwWrap{
	"none": verification.NoWrap, "json": verification.WrapJSON, "cbor": verification.WrapCBOR,
}

type asked struct {
	Nonce  string   `json:"nonce"`
	Accept []string `json:"accept"`
}

type given struct {
	Type  string `json:"type"`
	Value []byte `json:"value"`
}

// builder has the evidence made by whoever started this program.
type builder struct{}

func (builder) BuildEvidence(nonce []byte, accept []string) ([]byte, string, error) {
	line, err := json.Marshal(asked{Nonce: hex.EncodeToString(nonce), Accept: accept})
	if err != nil {
		return nil, "", err
	}
	fmt.Println(string(line))
	answer, err := bufio.NewReader(os.Stdin).ReadBytes('\n')
	if err != nil {
		return nil, "", err
	}
	var evidence given
	err = json.Unmarshal(answer, &evidence)
	return evidence.Value, evidence.Type, err
}

func main() {
	log.SetFlags(0)
	config := verification.ChallengeResponseConfig{EvidenceBuilder: builder{}, DeleteSession: true}
	must(config.SetSessionURI(os.Args[1]))
	must(config.SetWrap(wraps[os.Args[2]]))
	if os.Args[3] == "size" {
		size, err := strconv.ParseUint(os.Args[4], 10, 8)
		must(err)
		must(config.SetNonceSz(uint(size)))
	} else {
		nonce, err := hex.DecodeString(os.Args[4])
		must(err)
		must(config.SetNonce(nonce))
	}
	result, err := config.Run()
	must(err)
	fmt.Println(string(result))
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
