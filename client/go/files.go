package leyden

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// writeAtomically writes data to path so that no reader ever sees a part of it.
func writeAtomically(path string, data []byte) error {
	// Through a symlink, so that what it points to is replaced and not the link.
	target, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		target = path
	} else if err != nil {
		return err
	}
	if info, err := os.Stat(target); err == nil && !info.Mode().IsRegular() {
		// A rename would put a plain file in the place of /dev/null or a pipe.
		return os.WriteFile(target, data, 0o666)
	}
	// Beside the target, where a rename is atomic. Not os.CreateTemp: its files are private to
	// their owner, and the target would be too.
	part := filepath.Join(
		filepath.Dir(target), fmt.Sprintf(".%s.%s.part", filepath.Base(target), rand.Text()[:8]))
	if err := writeNew(part, data); err != nil {
		return err
	}
	if err := os.Rename(part, target); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return nil
}

// writeNew writes a file that must not be there yet, and leaves nothing behind where it fails.
func writeNew(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
