"""A small server that speaks the Hugging Face Hub's HTTP protocol, to be pushed to and read from.

Written from what `huggingface_hub` 0.30 to 2.4 and `datasets` 3.6 to 5.2 send. Xet is not spoken:
clients need `HF_HUB_DISABLE_XET=1`, and upload by git LFS.

    with HubServer(folder) as hub:
        hub.faults.append(Fault("commit", status=503))
        run(["geogen", "push", ...], env=hub_environment(hub, home, token=hub.tokens.owner))
        assert hub.counters.received["lfs-upload"] == ...
"""

from hub_server.environment import hub_environment, use_hub
from hub_server.faults import Counters, Fault
from hub_server.server import HubServer

__all__ = ["Counters", "Fault", "HubServer", "hub_environment", "use_hub"]
