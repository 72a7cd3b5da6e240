"""A store of one's own: instances go into a ZIP archive instead of a directory.

    python examples/zip_store.py LISTEN FILE.zip
"""

import shutil
import sys
from tempfile import TemporaryFile
from threading import Lock
from zipfile import ZipFile

from twisted.internet import defer, endpoints, task
from twisted.internet.threads import deferToThread

from dimsetls.association import AcceptorFactory, ApplicationEntity
from dimsetls.services import ServiceProvider, Status, storage_sop_classes
from dimsetls.services.part10 import file_meta
from dimsetls.services.storage import all_transfer_syntaxes


class ZipStore(ServiceProvider):
    abstract_syntaxes = storage_sop_classes()
    transfer_syntaxes = all_transfer_syntaxes()

    def __init__(self, path):
        self._path, self._lock = path, Lock()

    async def c_store(self, request):
        with TemporaryFile() as file:
            titles = request.association.parties
            file.write(file_meta(request.sop_class_uid, request.sop_instance_uid, request.transfer_syntax,
                                 titles.calling_ae_title, titles.called_ae_title))
            await request.data.copy_to(file)  # raises if the association ends first: then nothing is kept
            file.seek(0)
            await deferToThread(self._add, f"{request.sop_instance_uid}.dcm", file)
        return Status.SUCCESS

    def _add(self, name, file):
        """In a thread, as it waits for the disk."""
        with self._lock, ZipFile(self._path, "a") as archive, archive.open(name, "w", force_zip64=True) as entry:
            shutil.copyfileobj(file, entry)


async def main(reactor, listen, path):
    factory = AcceptorFactory(ApplicationEntity("EXAMPLE", ZipStore(path)))
    port = await endpoints.serverFromString(reactor, listen).listen(factory)
    print(f"listens on port {port.getHost().port}", flush=True)
    await defer.Deferred()


task.react(main, sys.argv[1:])
