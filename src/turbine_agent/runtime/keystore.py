"""The wallet's key at rest: Ethereum's keystore, version 3, as wallets and command-line tools write it.

    derived    = scrypt or PBKDF2-HMAC-SHA256 of the password, 32 bytes
    MAC        = keccak(derived[16:32] | ciphertext): tells a wrong password from a right one
    key        = AES-128-CTR of the ciphertext under derived[:16]
    address    optional; if it is there it has to be the key's own

Opened, never written. The numbers in the file decide how much memory and time opening it costs, so they have
bounds: a file is not to be trusted before its MAC is.

No message holds a secret, and none says more about a password than that it does not fit.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, Final

import msgspec
from coincurve import PrivateKey

from turbine_agent.exchange.turbine.signing import CredentialError, Secret, wallet_secret
from turbine_agent.protocol.eip712 import address_of, keccak

VERSION: Final = 3
KEY_BYTES: Final = 32
SCRYPT_BYTES_MAX: Final = 1 << 30
"""Memory that scrypt may take. What the usual tools write takes 256 MiB at most."""

SCRYPT_WORK_MAX: Final = 1 << 24
"""n * r * p; the usual 262144 * 8 * 1 is an eighth of it and takes a second."""

_Hex = Annotated[str, msgspec.Meta(pattern=r"^(0x)?([0-9a-fA-F]{2})*\Z", max_length=200)]


class KeystoreError(ValueError):
    """A keystore that cannot be opened: why, and what to do."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy


class _KdfParams(msgspec.Struct, frozen=True):
    salt: _Hex
    dklen: int
    n: int = 0
    r: int = 0
    p: int = 0
    c: Annotated[int, msgspec.Meta(ge=0, le=20_000_000)] = 0
    prf: str = ""


class _CipherParams(msgspec.Struct, frozen=True):
    iv: _Hex


class _Crypto(msgspec.Struct, frozen=True):
    cipher: str
    cipherparams: _CipherParams
    ciphertext: _Hex
    kdf: str
    kdfparams: _KdfParams
    mac: _Hex


class _Keystore(msgspec.Struct, frozen=True):
    version: int
    crypto: _Crypto | None = None
    Crypto: _Crypto | None = None
    """As some tools spell it."""
    address: Annotated[str, msgspec.Meta(max_length=100)] = ""


def open_keystore(data: bytes, password: bytes) -> Secret:
    """The wallet's key. Takes about a second, on purpose. Raises KeystoreError."""
    try:
        store = msgspec.json.decode(data, type=_Keystore)
    except msgspec.DecodeError as error:
        # The decoder names places and types, never values.
        raise _damaged(str(error)) from None
    crypto = store.crypto or store.Crypto
    if store.version != VERSION or crypto is None:
        raise KeystoreError(
            f"it is no keystore of version {VERSION}", "export the wallet again as a V3 keystore (JSON)"
        )
    if crypto.cipher != "aes-128-ctr":
        raise _damaged("its cipher is not aes-128-ctr")
    ciphertext, iv = _bytes(crypto.ciphertext), _bytes(crypto.cipherparams.iv)
    if len(ciphertext) != KEY_BYTES or len(iv) != 16:
        raise _damaged(f"a wallet's key has {KEY_BYTES} bytes, this one has {len(ciphertext)}")
    derived = _derived(crypto, password)
    if not hmac.compare_digest(keccak(derived[16:32] + ciphertext), _bytes(crypto.mac)):
        raise KeystoreError("the password is wrong (or the file is damaged)", "give the keystore's password")
    key = _aes_ctr(derived[:16], iv, ciphertext)
    try:
        secret = wallet_secret(key.hex())
    except CredentialError as error:
        raise _damaged(str(error)) from None
    if store.address:
        ours = address_of(PrivateKey(key).public_key.format(compressed=False)).lower()
        theirs = "0x" + store.address.lower().removeprefix("0x")
        if ours != theirs:
            raise KeystoreError(
                f"it says that it is {theirs[:44]}'s, and holds the key of {ours}",
                "do not use it before you know why; export the wallet again",
            )
    return secret


def _derived(crypto: _Crypto, password: bytes) -> bytes:
    params = crypto.kdfparams
    salt = _bytes(params.salt)
    if params.dklen != KEY_BYTES:
        raise _damaged(f"its derived key has {params.dklen} bytes, not {KEY_BYTES}")
    if crypto.kdf == "scrypt":
        n, r, p = params.n, params.r, params.p
        if n < 2 or n & (n - 1) or r < 1 or p < 1:
            raise _damaged("its scrypt numbers make no sense")
        needed = 128 * r * (n + p + 2)
        if needed > SCRYPT_BYTES_MAX or n * r * p > SCRYPT_WORK_MAX:
            raise _damaged("its scrypt numbers ask for more memory or time than any wallet's")
        return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=needed + 65_536, dklen=KEY_BYTES)
    if crypto.kdf == "pbkdf2":
        if params.prf != "hmac-sha256" or params.c < 1:
            raise _damaged("its PBKDF2 is not that of a keystore")
        return hashlib.pbkdf2_hmac("sha256", password, salt, params.c, KEY_BYTES)
    raise _damaged("its key derivation is neither scrypt nor pbkdf2")


def _aes_ctr(key: bytes, iv: bytes, ciphertext: bytes) -> bytes:
    # Imported here: of all commands only one that opens a keystore needs it.
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: PLC0415

    decryptor = Cipher(algorithms.AES(key), modes.CTR(iv)).decryptor()
    return decryptor.update(ciphertext) + decryptor.finalize()


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def _damaged(problem: str) -> KeystoreError:
    return KeystoreError(problem, "it is damaged or of another kind: export the wallet again (V3, JSON)")
