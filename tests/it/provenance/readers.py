"""Reads provenance and bills of materials with the libraries of the authors of the formats.

statement FILE          an in-toto statement with SLSA provenance, by in-toto's own definitions
envelope FILE PUBLIC    a DSSE envelope, by the reference implementation; prints the payload
bill FILE...            CycloneDX, by the schema of the specification
"""

import json
import sys


def statement(text):
    from google.protobuf import json_format
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
    from in_toto_attestation.v1.statement import Statement

    # `Parse` refuses fields that the definitions do not have.
    parsed = json_format.Parse(text, statement_pb2.Statement())
    Statement.copy_from_pb(parsed).validate()
    predicate = json_format.Parse(
        json.dumps(json.loads(text)["predicate"]), provenance_pb2.Provenance()
    )
    # The fields that the specification of SLSA requires.
    definition, run = predicate.build_definition, predicate.run_details
    assert definition.build_type and definition.external_parameters.fields
    assert run.builder.id and parsed.predicate_type == "https://slsa.dev/provenance/v1"
    for resource in definition.resolved_dependencies:
        ResourceDescriptor.copy_from_pb(resource).validate()


def envelope(text, public):
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import SSlibKey

    found = Envelope.from_dict(json.loads(text))
    keyid = found.signatures[next(iter(found.signatures))].keyid
    key = SSlibKey.from_crypto(load_pem_public_key(public), keyid)
    assert found.verify([key], 1) == {keyid: key}
    assert found.payload_type == "application/vnd.in-toto+json", found.payload_type
    return found.payload.decode()


def bill(text):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    errors = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
    assert errors is None, errors


def read(name):
    with open(name, encoding="utf-8") as file:
        return file.read()


kind, *names = sys.argv[1:]
if kind == "statement":
    statement(read(names[0]))
elif kind == "envelope":
    with open(names[1], "rb") as file:
        print(envelope(read(names[0]), file.read()))
elif kind == "bill":
    for name in names:
        bill(read(name))
else:
    sys.exit(__doc__)
