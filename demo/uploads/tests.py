from __future__ import annotations

import hashlib
from unittest import mock

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import TestCase

JSON = {"Accept": "application/json"}


class Uploads(TestCase):
    def file(self, content: bytes) -> SimpleUploadedFile:
        return SimpleUploadedFile("some.bin", content)

    def test_the_size_and_the_fingerprint_come_back(self) -> None:
        content = bytes(range(256)) * 20_000  # past what Django keeps in memory
        answer = self.client.post("/upload/", {"file": self.file(content)}, headers=JSON)
        self.assertEqual(
            answer.json(),
            {
                "name": "some.bin",
                "size": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            },
        )

    def test_it_works_without_a_script(self) -> None:
        answer = self.client.post(
            "/upload/", {"file": self.file(b"abc")}, headers={"Accept": "text/html"}
        )
        self.assertContains(answer, hashlib.sha256(b"abc").hexdigest())

    def test_no_file_and_too_large_a_file_are_told(self) -> None:
        self.assertEqual(self.client.post("/upload/", headers=JSON).status_code, 400)
        with mock.patch("uploads.views.MAX_BYTES", 2):
            answer = self.client.post("/upload/", {"file": self.file(b"abc")}, headers=JSON)
        self.assertEqual(answer.status_code, 400)
        self.assertIn("problem", answer.json())
