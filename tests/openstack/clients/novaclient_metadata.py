"""Python 2: reads an image's metadata with python-novaclient, adds a key, and writes all of it back.

Environment: COMPUTE_ENDPOINT (http://host:port/v2.1), TOKEN, IMAGE. Prints what the client read.
"""

from __future__ import print_function

import json
import os

import requests
from keystoneclient import session
from keystoneclient.auth import token_endpoint
from novaclient import client

auth = token_endpoint.Token(os.environ["COMPUTE_ENDPOINT"], os.environ["TOKEN"])
nova = client.Client("2.1", session=session.Session(auth=auth))
image = nova.images.get(os.environ["IMAGE"])
metadata = dict(image.metadata)
read = {"requests": requests.__version__, "name": image.name, "metadata": dict(metadata)}
metadata["added"] = "yes"
nova.images.set_meta(image, metadata)
print(json.dumps(read))
