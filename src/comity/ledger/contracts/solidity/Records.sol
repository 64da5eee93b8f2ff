// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {System, MEMBERS, GRANTS, GOVERNANCE, STUDIES, SERVICES} from "./System.sol";

/// The list of anchored records: digest, height, kind, organisation. Nothing about what they say.
contract Records is System {
    struct Place {
        uint64 height;
        address org;
        bytes32 kind;
    }

    uint256 public constant PAYLOAD_BYTES_MAX = 65536;

    event Anchored(bytes32 indexed digest, bytes32 indexed kind, address indexed org);

    mapping(bytes32 digest => Place) private _places;
    uint256 public count;

    /// A record that needs no permission but membership.
    function anchor(bytes32 kind, bytes calldata payload, bytes calldata signature) external direct {
        require(
            kind == "dataset" || kind == "task" || kind == "app" || kind == "offer" || kind == "receipt" || kind == "evaluation",
            "a record of this kind is anchored through its own contract"
        );
        require(signature.length == 65, "a signature is 65 bytes");
        _anchor(kind, msg.sender, payload);
    }

    /// A record that another system contract has permitted.
    function place(bytes32 kind, address org, bytes calldata payload) external returns (bytes32) {
        require(
            msg.sender == address(GRANTS) || msg.sender == GOVERNANCE || msg.sender == STUDIES || msg.sender == address(SERVICES),
            "only a system contract places a record"
        );
        return _anchor(kind, org, payload);
    }

    function record(bytes32 digest) external view returns (uint64 height, bytes32 kind, address org) {
        Place storage found = _places[digest];
        return (found.height, found.kind, found.org);
    }

    function _anchor(bytes32 kind, address org, bytes calldata payload) private returns (bytes32 digest) {
        require(MEMBERS.isMember(org), "the sender is not a member");
        require(payload.length > 0 && payload.length <= PAYLOAD_BYTES_MAX, "a payload has 1 to 65536 bytes");
        digest = sha256(payload);
        require(_places[digest].org == address(0), "this record is anchored already");
        _places[digest] = Place(uint64(block.number), org, kind);
        count++;
        emit Anchored(digest, kind, org);
    }
}
