// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {System, MEMBERS, RECORDS} from "./System.sol";

/// Who may use which dataset for which purpose, until when; and what was revoked.
contract Grants is System {
    struct Permission {
        bytes32 dataset;
        address grantee;
        uint64 until;
        bytes32[] purposes;
    }

    uint256 public constant PURPOSES_MAX = 16;
    /// Live grants of one dataset to one grantee for one purpose: bounds the walk in `covers`.
    uint256 public constant ALIKE_MAX = 16;

    event Granted(bytes32 indexed grant, bytes32 indexed dataset, address indexed grantee, uint64 until);
    event Revoked(bytes32 indexed about);

    mapping(bytes32 grant => Permission) private _permissions;
    mapping(bytes32 key => bytes32[] grants) private _alike;
    mapping(bytes32 about => bool) public isRevoked;

    /// Grantee 0 stands for every member. Only the organisation that anchored the dataset may grant it.
    function grant(
        bytes32 dataset,
        address grantee,
        bytes32[] calldata purposes,
        uint64 until,
        bytes calldata payload,
        bytes calldata signature
    ) external direct {
        require(_ownerOf(dataset, "dataset", "a grant is about a dataset") == msg.sender, "only the dataset's organisation grants it");
        require(!isRevoked[dataset], "the dataset was revoked");
        require(grantee == address(0) || MEMBERS.isMember(grantee), "the grantee is not a member");
        require(purposes.length > 0 && purposes.length <= PURPOSES_MAX, "a grant names 1 to 16 purposes");
        require(until > block.timestamp, "the grant would end before it begins");
        bytes32 digest = _place("grant", payload, signature);
        _permissions[digest] = Permission(dataset, grantee, until, purposes);
        for (uint256 i = 0; i < purposes.length; i++) {
            bytes32[] storage alike = _alike[_key(dataset, grantee, purposes[i])];
            _dropDead(alike);
            require(alike.length < ALIKE_MAX, "there are 16 such grants already: revoke one first");
            alike.push(digest);
        }
        emit Granted(digest, dataset, grantee, until);
    }

    /// Takes back any record of the caller's. It matters for grants, datasets, studies and approvals of them, models and proposals.
    function revoke(bytes32 about, bytes calldata payload, bytes calldata signature) external direct {
        (, , address org) = RECORDS.record(about);
        require(org != address(0), "there is no such record");
        require(org == msg.sender, "only its own organisation revokes a record");
        require(!isRevoked[about], "this record was revoked already");
        _place("revocation", payload, signature);
        isRevoked[about] = true;
        emit Revoked(about);
    }

    /// May `who` use the dataset for this purpose now? Its own organisation always may, until it revokes the dataset.
    function covers(bytes32 dataset, address who, bytes32 purpose) external view returns (bool) {
        (, bytes32 kind, address org) = RECORDS.record(dataset);
        if (kind != "dataset" || isRevoked[dataset]) return false;
        return org == who || _anyLive(_key(dataset, who, purpose)) || _anyLive(_key(dataset, address(0), purpose));
    }

    function _anyLive(bytes32 key) private view returns (bool) {
        bytes32[] storage alike = _alike[key];
        for (uint256 i = 0; i < alike.length; i++) if (_isLive(alike[i])) return true;
        return false;
    }

    function _isLive(bytes32 digest) private view returns (bool) {
        return !isRevoked[digest] && block.timestamp < _permissions[digest].until;
    }

    function _dropDead(bytes32[] storage alike) private {
        uint256 i = 0;
        while (i < alike.length) {
            if (_isLive(alike[i])) {
                i++;
            } else {
                alike[i] = alike[alike.length - 1];
                alike.pop();
            }
        }
    }

    function _key(bytes32 dataset, address grantee, bytes32 purpose) private pure returns (bytes32) {
        return keccak256(abi.encode(dataset, grantee, purpose));
    }
}
