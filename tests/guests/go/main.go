// A command in Go, for WASI preview 1: it reports what it was given, as README.md lists it.
package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

func main() {
	arguments := os.Args[1:]
	for i, argument := range arguments {
		fmt.Printf("arg %d: %s\n", i+1, argument)
	}
	fmt.Printf("GREETING=%s\n", os.Getenv("GREETING"))
	must(readConfig())
	must(keepNote("/note.txt", "kept by go"))

	if _, err := os.Stat("/nowhere"); errors.Is(err, fs.ErrNotExist) {
		fmt.Println("a missing file is missing")
	}
	if given, err := io.ReadAll(os.Stdin); err == nil && len(given) == 0 {
		fmt.Println("stdin is empty")
	}
	var one, other [16]byte
	rand.Read(one[:])
	rand.Read(other[:])
	if !bytes.Equal(one[:], other[:]) {
		fmt.Println("random differs")
	}
	if now := time.Now(); now.Year() >= 2024 {
		fmt.Println("the clock is set")
	}
	sleepInTwo()
	fmt.Fprintln(os.Stderr, "a word on stderr")

	if len(arguments) == 2 && arguments[0] == "exit" {
		code, err := strconv.Atoi(arguments[1])
		must(err)
		os.Exit(code)
	}
	if len(arguments) == 1 && arguments[0] == "panic" {
		panic("asked to")
	}
}

// Two goroutines sleep at once: the scheduler of Go waits in the host's poll, and nowhere else.
func sleepInTwo() {
	began, done := time.Now(), make(chan bool)
	for range 2 {
		go func() {
			time.Sleep(50 * time.Millisecond)
			done <- true
		}()
	}
	<-done
	<-done
	if time.Since(began) >= 50*time.Millisecond {
		fmt.Println("slept")
	}
}

func readConfig() error {
	motd, err := os.ReadFile(filepath.Join(os.Getenv("CONFIG_DIR"), "motd"))
	if err == nil {
		fmt.Printf("config: %s\n", bytes.TrimSpace(motd))
	}
	return err
}

func keepNote(path, text string) error {
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return err
	}
	note, err := os.ReadFile(path)
	if err == nil {
		fmt.Printf("note: %s\n", note)
	}
	return err
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(99)
	}
}
