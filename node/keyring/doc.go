// Package keyring keeps signing keys encrypted at rest in one directory.
//
// A key named alice is two files:
//
//	alice.age   the key: an age file (age-encryption.org/v1) under an scrypt passphrase; binary.
//	            Plaintext: JSON {"version":1,"type","seed","public","created"}; seed is 32 bytes in base64.
//	alice.json  what may be read without the passphrase: JSON {"name","type","public","did","key_url","created"}
//
// A key exists if and only if its .age file does. Every operation has one rename
// or removal of an .age file as the step at which it takes effect, so that after
// a crash a key is either as it was or as it should be. ChangePassphrase is such
// a step for each key, and can be resumed. A .json file alone is
// the remains of such a crash; it is ignored, and overwritten by the next key
// of that name. Files that begin with ".tmp-" are swept by the next write.
//
// The directory has mode 0700 and its files 0600; a directory that anybody else
// can enter is refused. Writers exclude each other, across processes, by a lock
// on the file .lock.
//
// One passphrase opens the whole keyring. It is asked when it is first needed,
// checked against a key, and then remembered in memory only. Neither it nor a
// seed is ever part of an error. The .json files are not authenticated: who can
// write to the directory can change a DID in them, but not make a key sign for
// another public key, since Signer compares it with the sealed one.
package keyring
